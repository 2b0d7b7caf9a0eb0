#include "gate.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Atomic(uintptr_t) gate_owner;
_Atomic(int64_t) gate_others;

/* Not libc's nanosleep, which is interposed and gives memory back. */
void gate_pause(void) {
    struct timespec t = {0, 50000};
    syscall(SYS_nanosleep, &t, NULL);
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

void gate_wait(struct heap *heap) {
    uintptr_t me = (uintptr_t)pthread_self();
    int64_t end = now_ms() + GATE_WAIT_MS;
    while (atomic_load(&gate_owner) && atomic_load(&gate_owner) != me && now_ms() < end) {
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

void gate_close(void) {
    if (is_single_threaded()) return;
    int64_t end = now_ms() + GATE_WAIT_MS;
    uintptr_t open = 0;
    while (!atomic_compare_exchange_strong(&gate_owner, &open, (uintptr_t)pthread_self()) &&
           now_ms() < end) {
        open = 0;
        gate_pause(); /* another thread forks */
    }
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
