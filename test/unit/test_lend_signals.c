/* A signal at every instruction of lending and taking back: the processor stops after each (the trap flag), and at one of them the
 * handler does what a handler may do in a thread that is about to block: allocate, or block itself. Whatever the moment, the thread
 * must have its one heap afterwards, and nobody may tend a heap that is in use. */
#include "unit.h"

#include "../../core/lend.h"

#include <signal.h>

TestSuite(lend_signals, .init = core_init);

/* Sanitizers do not survive a signal inside their own functions. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

enum { OWNED = 0 };

static unsigned steps, signal_at;
static void (*in_handler)(void);
static const char *fault;
static struct heap *mine;

/* Who flushes now must not find a heap that is in use. */
static void check_while_it_works(void) {
    if (heap_current != mine) return;
    core_free(core_malloc(64));
    size_t waiting = heap_waiting_blocks(class_of_request(64));
    heap_flush_lent();
    if (heap_waiting_blocks(class_of_request(64)) != waiting) fault = "the heap is in use and open to others";
}

static void on_step(int number) {
    (void)number;
    if (++steps != signal_at) return;
    in_handler();
    check_while_it_works();
}

static void handle_steps(void) {
    struct sigaction action = {.sa_handler = on_step};
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

static void allocate(void) {
    core_free(core_malloc(64));
    core_free(core_malloc(3000));
}
/* A call that blocks: waitpid in a handler of SIGCHLD. */
static void block_and_return(void) {
    heap_lend();
    heap_flush_lent();
    heap_take_back();
}
static void allocate_and_block(void) {
    allocate();
    block_and_return();
}

static const struct {
    const char *name;
    void (*act)(void);
} handlers[] = {{"allocates", allocate}, {"blocks", block_and_return}, {"allocates and blocks", allocate_and_block}};

static void check_after(const char *what, unsigned at) {
    check_while_it_works();
    cr_assert_null(fault, "%s, instruction %u: %s", what, at, fault);
    heap_take_back(); /* as the wrapper does after the call */
    cr_assert_eq(heap_current, mine, "%s, instruction %u: the thread has another heap", what, at);
    cr_assert_null(heap_lent, "%s, instruction %u", what, at);
    cr_assert_eq(mine->lending, OWNED, "%s, instruction %u: in use and open to others", what, at);
    cr_assert_eq(heap_count, 1, "%s, instruction %u: a second heap was opened", what, at);
}

static void step_through(void (*act)(void), bool is_lent_before) {
    handle_steps();
    allocate();
    mine = heap_current;
    for (unsigned h = 0; h < COUNT(handlers); h++) {
        in_handler = handlers[h].act;
        unsigned n = 1;
        for (bool is_inside = true; is_inside; n++) {
            if (is_lent_before) heap_lend();
            is_inside = interrupt(act, n);
            check_after(handlers[h].name, n);
        }
        cr_assert_gt(n, 15, "too few instructions: nothing was stepped through");
    }
    heap_flush(false);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

static void take_back(void) { heap_take_back(); }

Test(lend_signals, at_every_instruction_of_lending) { step_through(heap_lend, false); }
Test(lend_signals, at_every_instruction_of_taking_back) { step_through(take_back, true); }

#endif
