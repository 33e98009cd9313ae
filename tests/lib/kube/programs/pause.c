/*
 * pause: waits for ever, and reaps what is left to it. The first process of a pod, and of the
 * namespaces that a whole node runs in.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>

static void reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

int main(void)
{
    sigset_t set;
    int signal;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (;;) {
        reap();
        if (sigwait(&set, &signal) == 0 && signal != SIGCHLD)
            return EXIT_SUCCESS;
    }
}
