/* A signal at every instruction of lending and taking back: at one of them the handler does what a handler may do in a thread that
 * is about to block: allocate, or block itself. Whatever the moment, the thread must have its one heap afterwards, and nobody may
 * tend a heap that is in use. */
#include "steps.h"
#include "unit.h"

#include "../../core/lend.h"

TestSuite(lend_signals, .init = core_init);

#ifdef CAN_STEP

enum { OWNED = 0 };

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

/* What goes on there is the child. */
static void fork_and_allocate(void) {
    heap_after_fork();
    allocate();
}

static void (*handler_act)(void);
static void act_and_check(void) {
    handler_act();
    check_while_it_works();
}

static const struct {
    const char *name;
    void (*act)(void);
} handlers[] = {{"allocates", allocate}, {"blocks", block_and_return}, {"allocates and blocks", allocate_and_block}, {"forks", heap_after_fork},
                {"forks and allocates", fork_and_allocate}};

static void check_after(const char *what, unsigned at) {
    check_while_it_works();
    cr_assert_null(fault, "%s, instruction %u: %s", what, at, fault);
    heap_take_back(); /* as the wrapper does after the call */
    cr_assert_not(heap_current == mine && mine->is_orphan, "%s, instruction %u: in use and to be taken over", what, at);
    cr_assert_eq(heap_current, mine, "%s, instruction %u: the thread has another heap", what, at);
    cr_assert_null(heap_lent, "%s, instruction %u", what, at);
    cr_assert_eq(mine->lending, OWNED, "%s, instruction %u: in use and open to others", what, at);
    cr_assert_eq(heap_count, 1, "%s, instruction %u: a second heap was opened", what, at);
}

static void step_through(void (*act)(void), bool is_lent_before) {
    handle_steps();
    allocate();
    mine = heap_current;
    in_handler = act_and_check;
    for (unsigned h = 0; h < COUNT(handlers); h++) {
        handler_act = handlers[h].act;
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
