#define _GNU_SOURCE
#include "CLinux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int result(long value) { return value < 0 ? -errno : (int)value; }

// posix_spawn's attributes can restore default actions but not set "ignore"; an ignored signal stays ignored across
// exec, so SIGINT is ignored here while the child is made. Spawning is serialized by the caller.
static int spawn(const char *path, char *const arguments[], char *const environment[], int inherited, int *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return -error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    sigset_t defaults, empty;
    sigfillset(&defaults);
    sigdelset(&defaults, SIGINT);
    sigdelset(&defaults, SIGKILL);
    sigdelset(&defaults, SIGSTOP);
    sigemptyset(&empty);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, inherited, 3);
    if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, 4);
    if (!error) error = posix_spawnattr_setsigdefault(&attributes, &defaults);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &empty);
    if (!error) error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (!error) error = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

int clinux_spawn(const char *path, char *const arguments[], char *const environment[], int inherited, int *pid) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    if (sigaction(SIGINT, &ignore, &before)) return -errno;
    int error = spawn(path, arguments, environment, inherited, pid);
    sigaction(SIGINT, &before, NULL);
    if (error) return error;
    int pidfd = result(syscall(SYS_pidfd_open, *pid, 0));
    if (pidfd < 0) {
        // Without the descriptor nobody could watch the child: do not leave it behind.
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    return pidfd;
}

int clinux_pidfd_signal(int pidfd, int signal) {
    return result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

int clinux_pidfd_open(int pid) { return result(syscall(SYS_pidfd_open, pid, 0)); }

int clinux_pidfd_wait(int pidfd) {
    struct pollfd wanted = {.fd = pidfd, .events = POLLIN};
    int value;
    do {
        value = poll(&wanted, 1, -1);
    } while (value < 0 && errno == EINTR);
    return value < 0 ? -errno : 0;
}

int clinux_pidfd_reap(int pidfd, int *signalled, int *status) {
    siginfo_t information = {0};
    int value;
    do {
        value = waitid(P_PIDFD, (id_t)pidfd, &information, WEXITED);
    } while (value < 0 && errno == EINTR);
    if (value < 0) return -errno;
    *signalled = information.si_code != CLD_EXITED;
    *status = information.si_status;
    return 0;
}

int clinux_pipe(int ends[2]) { return result(pipe2(ends, O_CLOEXEC)); }

int clinux_allowed_cpu(int from) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(getpid(), sizeof set, &set)) return -errno;
    for (int cpu = from < 0 ? 0 : from; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set)) return cpu;
    return -ENOENT;
}

int clinux_name_thread(const char *name) { return result(prctl(PR_SET_NAME, name, 0, 0, 0)); }

int clinux_give_way(void) {
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return -errno;
    int failure = 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        int thread = atoi(task->d_name);
        if (thread > 0 && setpriority(PRIO_PROCESS, (id_t)thread, 10)) failure = -errno;
    }
    closedir(tasks);
    return failure;
}

int clinux_set_timer_slack(unsigned long nanoseconds) {
    return result(prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0));
}

int clinux_make_private_directory(char *pattern) { return mkdtemp(pattern) ? 0 : -errno; }
