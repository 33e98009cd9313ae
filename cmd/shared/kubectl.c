/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/shared/kubectl.h"

#include "base/util.h"

#define KUBECTL "kubectl"

bool kubectl_set_option(struct kubectl *kubectl, int option, const char *value)
{
    switch (option) {
    case KUBECTL_OPTION_KUBECONFIG:
        kubectl->kubeconfig = value;
        return true;
    case KUBECTL_OPTION_CONTEXT:
        kubectl->context = value;
        return true;
    default:
        return false;
    }
}

/* The options stand in front, since words behind "--" are another program's. */
void kubectl_argv(const struct kubectl *kubectl, const char *const words[],
                  const char *ret_argv[static KUBECTL_ARGV_MAX])
{
    size_t n = 0;

    ret_argv[n++] = KUBECTL;
    if (kubectl->kubeconfig != NULL) {
        ret_argv[n++] = "--kubeconfig";
        ret_argv[n++] = kubectl->kubeconfig;
    }
    if (kubectl->context != NULL) {
        ret_argv[n++] = "--context";
        ret_argv[n++] = kubectl->context;
    }
    for (size_t i = 0; words[i] != NULL; i++) {
        assert(i < KUBECTL_WORDS_MAX);
        ret_argv[n++] = words[i];
    }
    ret_argv[n] = NULL;
}

int kubectl_read_lines(const struct kubectl *kubectl, const char *const words[],
                       process_line_fn *on_line, void *userdata, struct error *e)
{
    const char *argv[KUBECTL_ARGV_MAX];
    int r;

    kubectl_argv(kubectl, words, argv);
    r = process_read_lines(argv, on_line, userdata);
    if (r > 0)
        return error_set(e, -EIO, KUBECTL " %s %s failed with exit status %d", words[0], words[1],
                         r);
    return r < 0 && e->text[0] == '\0' ? error_set_errno(e, r, "cannot run " KUBECTL) : r;
}
