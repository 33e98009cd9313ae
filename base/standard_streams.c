/* SPDX-License-Identifier: Apache-2.0 */
#include "base/standard_streams.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

bool standard_streams_have_log_file(void)
{
    struct stat status;

    return fstat(STDERR_FILENO, &status) == 0 && S_ISREG(status.st_mode);
}

void standard_streams_release(void)
{
    _cleanup_(fd_closep) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0)
        return;
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    if (!standard_streams_have_log_file())
        dup2(null_fd, STDERR_FILENO);
}
