/* SPDX-License-Identifier: Apache-2.0 */
/* node.yaml: it sets options, or there is a reason. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "node/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(fd_closep) int fd = memfd_create("node.yaml", MFD_CLOEXEC);
    char path[64];
    char *argv[] = {(char[]){"node"}, (char[]){"--config"}, path, NULL};
    struct node_options options;
    struct error e = ERROR_INIT;
    int r;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    r = node_options_parse(ELEMENTS_OF(argv) - 1, argv, &options, &e);
    assert(r == 0 || e.text[0] != '\0');
    if (r == 0 && !options.wants_help) {
        assert(options.kubelet_root[0] == '/' && options.run_dir[0] == '/');
        assert(options.endpoint[0] == '/' && options.driver_name[0] != '\0');
        assert(options.registration_path == NULL || options.registration_path[0] == '/');
    }
    node_options_deinit(&options);
    return 0;
}
