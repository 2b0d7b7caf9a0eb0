#include "gate.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Atomic(uintptr_t) gate_owner;
_Atomic(int64_t) gate_others;
static _Atomic(uint32_t) closings; /* tells one fork from the next of the same thread */

/* Not libc's nanosleep, which is interposed and gives memory back. Nobody wakes this futex; threads
 * make that call anyway, so that a seccomp filter lets it pass. */
void gate_pause(void) {
    static uint32_t futex;
    struct timespec t = {0, 50000};
    int saved = errno;
    syscall(SYS_futex, &futex, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
    errno = saved;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void step_outside(struct heap *heap) {
    if (heap)
        atomic_store(&heap->gate_depth, 0);
    else
        atomic_fetch_sub(&gate_others, 1);
}
static void step_inside(struct heap *heap) {
    if (heap)
        atomic_store(&heap->gate_depth, 1);
    else
        atomic_fetch_add(&gate_others, 1);
}

/* Who has waited in vain for one fork opens the gate for all: a child that was forked without
 * libc's knowledge inherits it closed, with nobody to open it. */
void gate_wait(struct heap *heap) {
    uintptr_t me = (uintptr_t)pthread_self(), owner;
    uint32_t closing = atomic_load(&closings);
    int64_t end = now_ms() + GATE_WAIT_MS;
    while ((owner = atomic_load(&gate_owner)) && owner != me) {
        if (now_ms() > end) {
            if (atomic_load(&closings) == closing)
                atomic_compare_exchange_strong(&gate_owner, &owner, 0);
            return;
        }
        step_outside(heap);
        gate_pause();
        step_inside(heap);
    }
}

static bool is_somebody_inside(void) {
    if (atomic_load(&gate_others)) return true;
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (heap && heap != heap_current && atomic_load(&heap->gate_depth)) return true;
    }
    return false;
}

/* Other threads' forks are waited for as long as one after the other ends; one that does not loses
 * the gate. */
static void own_gate(void) {
    uintptr_t me = (uintptr_t)pthread_self(), owner = 0;
    uint32_t closing = atomic_load(&closings);
    int64_t end = now_ms() + GATE_WAIT_MS;
    while (!atomic_compare_exchange_strong(&gate_owner, &owner, me)) {
        if (atomic_load(&closings) != closing) {
            closing = atomic_load(&closings);
            end = now_ms() + GATE_WAIT_MS;
        } else if (now_ms() >= end) {
            atomic_store(&gate_owner, me);
            break;
        }
        owner = 0;
        gate_pause();
    }
    atomic_fetch_add(&closings, 1);
}

void gate_close(void) {
    if (is_single_threaded()) return;
    own_gate();
    int64_t end = now_ms() + GATE_WAIT_MS;
    while (is_somebody_inside() && now_ms() < end) gate_pause();
}

void gate_open(void) {
    uintptr_t me = (uintptr_t)pthread_self();
    atomic_compare_exchange_strong(&gate_owner, &me, 0);
}

void gate_reset(void) {
    atomic_store(&gate_owner, 0);
    atomic_store(&gate_others, 0);
}
