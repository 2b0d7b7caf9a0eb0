/* A signal at any instruction of a function: the processor stops after each (the trap flag), and at one of them the handler does
 * something else, as a signal handler or, where nothing is locked, another thread might. Not for sanitizers, which do not survive
 * a signal inside their own functions. */
#ifndef LOWTIDE_UNIT_STEPS_H
#define LOWTIDE_UNIT_STEPS_H

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_STEP

#include "unit.h"

#include <signal.h>
#include <ucontext.h>

static unsigned steps, signal_at;
static void (*in_handler)(void);

/* The rest runs without steps, unless the handler names a later instruction for itself. */
static void on_step(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    if (++steps != signal_at) return;
    in_handler();
    if (signal_at <= steps) ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

static void handle_steps(void) {
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    cr_assert_eq(sigaction(SIGTRAP, &action, NULL), 0);
}

/* The handler itself runs without the flag. Below the stack's red zone, which belongs to whoever is inlined around it. */
static ALWAYS_INLINE void set_trap_flag(void) {
    __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
}
static ALWAYS_INLINE void clear_trap_flag(void) {
    __asm__ volatile("sub $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
}

/* Runs act with a signal after its n-th instruction; false when it has fewer. */
static bool interrupt(void (*act)(void), unsigned n) {
    steps = 0;
    signal_at = n;
    set_trap_flag();
    act();
    clear_trap_flag();
    return steps >= n;
}

#endif
#endif
