/*
 * Reads process numbers from standard input, one a line, and answers each with the CPU time
 * that the process has used so far, in nanoseconds; 0 if there is no such process. Unlike
 * /proc/PID/stat it does not count in clock ticks, and unlike the schedstat files of the
 * threads it includes those that have ended.
 */
#include <stdio.h>
#include <time.h>

int main(void)
{
    int pid;

    while (scanf("%d", &pid) == 1) {
        struct timespec used = { 0, 0 };
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) == 0)
            clock_gettime(clock, &used);
        printf("%lld\n", used.tv_sec * 1000000000LL + used.tv_nsec);
        fflush(stdout);
    }
    return 0;
}
