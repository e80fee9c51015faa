#pragma once

// What the kernel and glibc offer but Swift's importer cannot see: variadic calls, _GNU_SOURCE, raw system calls.
// Every function returns 0 (or a descriptor) on success and -errno on failure.

/// Starts `path` with `arguments` and `environment` (both end with NULL) in the caller's process group and session.
///
/// The child has the caller's descriptors 0, 1 and 2, `inherited` as descriptor 3, and no other; default signal
/// actions, except that it ignores SIGINT, which a terminal sends to everyone; and an empty signal mask.
/// On success `*pid` is the child and the result a pidfd of it, close-on-exec.
int clinux_spawn(const char *path, char *const arguments[], char *const environment[], int inherited, int *pid);

/// Sends a signal to the process of a pidfd. -ESRCH once it has been reaped.
int clinux_pidfd_signal(int pidfd, int signal);

/// A pidfd of a process that need not be a child, close-on-exec. -ESRCH if there is none.
int clinux_pidfd_open(int pid);

/// Waits until the process of a pidfd has ended.
int clinux_pidfd_wait(int pidfd);

/// Waits until the child of a pidfd has ended and reaps it. `*signalled` says whether a signal ended it, `*status` is
/// that signal or its exit code.
int clinux_pidfd_reap(int pidfd, int *signalled, int *status);

/// A pipe whose ends children do not inherit: `ends[0]` reads what `ends[1]` writes.
int clinux_pipe(int ends[2]);

/// The lowest CPU at or after `from` that this process may run on, or -ENOENT.
int clinux_allowed_cpu(int from);

/// Names the calling thread in tools such as top: at most 15 bytes are kept.
int clinux_name_thread(const char *name);

/// Lets every thread of this process stand back: a tenth of what others get where processors are short.
int clinux_give_way(void);

/// How much later than asked the kernel may wake the calling thread to save power (50 us by default).
int clinux_set_timer_slack(unsigned long nanoseconds);

/// A new path below which only this user can look: `mkdtemp` with mode 0700. `pattern` ends with XXXXXX and is changed
/// in place.
int clinux_make_private_directory(char *pattern);
