/*
 * fork.pml -- the fork gate (core/gate.c) and what a forked child finds
 *
 * WORKERS threads each have a heap, a magazine for one block, and a pool that
 * holds it.  Fast paths (push, pop) run outside of the gate, slow ones (spill,
 * refill) inside; between two steps of a slow path `torn' says that the pools
 * contradict themselves.  A worker may hold a lock of libc's meanwhile, which
 * fork needs, too.  FORKERS threads close the gate, fork, and open it.
 *
 * At a fork the run goes on either in the parent or in the child, where all
 * other threads stop between two steps for ever.  The child opens the gate,
 * takes over the magazines, and frees and takes blocks in pages it inherited.
 *
 * Waits are given up after a time: a choice that may be made at any moment,
 * after which `late' is set and the child may find torn pools.  A worker that
 * gives up opens the gate for all, a forker takes it over.
 *
 * PROVED  - unless somebody was late, a child finds no pool torn;
 *         - a child returns no block twice and none that the program holds,
 *           also where somebody was late;
 *         - the gate is open in the child, nobody counts as inside, and a
 *           block it frees in an inherited page is in its pool's bitmap;
 *         - nobody waits for ever, whatever locks are held, and where none are
 *           nobody has to give up waiting.
 */

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef FORKERS
#define FORKERS 1
#endif
#ifndef OPS
#define OPS 2
#endif

#define APP  0                    /* where a block is, as far as anybody holds it */
#define MAG  1
#define POOL 2
#define LOST 3                    /* between two of them */

byte owner;                       /* gate_owner: 0, or the forker's number */
bit  depth[WORKERS];              /* gate_depth of each heap */
bit  holds[WORKERS];               /* magazine: top is above the block */
bit  free[WORKERS];               /* pool: the block's bit */
byte where[WORKERS];              /* ghost */
byte torn;                        /* ghost: slow paths between two steps */
bit  late;                        /* ghost */
bit  locked;                      /* a lock of libc's */
bit  forked;                      /* the run goes on in a child */

/* A wait that is given up; -DPATIENT: nobody does, which goes well as long as
   nobody has locks of libc's (-DNO_LOCKS). */
#ifdef MUT_WAIT_FOR_EVER
#define PATIENT
#endif
#ifdef PATIENT
#define GIVE_UP false
#else
#define GIVE_UP true
#endif

inline gate_enter()
{
#ifdef MUT_LOOK_BEFORE_ENTERING   /* the gate may close in between */
	if
	:: owner != 0 -> goto wait
	:: else
	fi;
	depth[i] = 1;
#else
	depth[i] = 1;
	if
	:: owner != 0 -> goto wait
	:: else
	fi;
#endif
	goto inside;
wait:	do                                              /* gate_wait */
	:: owner == 0 -> break
	:: else ->
#ifndef MUT_WAIT_INSIDE           /* counts as inside; needs -DPATIENT -DNO_LOCKS */
		depth[i] = 0;
#endif
		if
		:: owner == 0 -> depth[i] = 1
		:: atomic {                     /* opens it, unless it was closed anew */
			GIVE_UP -> late = 1;
			if :: owner = 0 :: skip fi
		   }; depth[i] = 1; break
		fi
	od;
inside:	skip
}

proctype worker(byte i; byte n)
{
	bit has_lock;
	{
		do
		:: n == 0 -> break
		:: n > 0 -> n--;
			has_lock = 0;
			if                        /* the program holds libc's lock */
#ifndef NO_LOCKS
			:: atomic { !locked -> locked = 1 }; has_lock = 1
#endif
			:: skip
			fi;
			if
			:: where[i] == APP ->     /* free: push */
				atomic { holds[i] = 1; where[i] = MAG }
			:: where[i] == MAG ->     /* malloc: pop */
				atomic { holds[i] = 0; where[i] = APP }
			:: where[i] == MAG || where[i] == POOL ->
				gate_enter();
				if
				:: where[i] == MAG ->   /* spill */
					atomic { torn++; free[i] = 1; where[i] = POOL };
					atomic { holds[i] = 0; torn-- }
				:: where[i] == POOL ->  /* refill */
					atomic { torn++; free[i] = 0; where[i] = LOST };
					atomic { holds[i] = 1; where[i] = MAG; torn-- }
				fi;
				depth[i] = 0
			fi;
			if
			:: atomic { has_lock -> locked = 0 }
			:: else
			fi
		od
	} unless { forked }
}

/* heap_after_fork, heap_adopt_orphans, then the child's own frees. */
inline child()
{
	w = 0;
	assert(late || torn == 0);
#ifndef MUT_GATE_NOT_RESET
	owner = 0;
#endif
	assert(owner == 0);
	do
	:: w < WORKERS ->
#ifndef MUT_DEPTH_KEPT            /* the next fork waits for the dead */
		depth[w] = 0;
#endif
		if
#ifdef MUT_MAGAZINE_BELIEVED      /* a spill was under way */
		:: holds[w] ->
#else
		:: holds[w] && !free[w] ->
#endif
			assert(!free[w] && where[w] == MAG);
			free[w] = 1;
			where[w] = POOL
		:: else
		fi;
		holds[w] = 0;
		assert(depth[w] == 0);
		if                                /* free in an inherited page */
		:: where[w] == APP ->
#ifdef MUT_FREED_TO_A_DEAD_HEAP   /* to the magazine it was taken from */
			holds[w] = 1;
#else
			assert(!free[w]);
			free[w] = 1;
#endif
			where[w] = POOL
		:: where[w] != APP
		fi;
		assert(where[w] != POOL || free[w]);
		w++
	:: else -> break
	od
}

proctype forker(byte me)
{
	byte w;
	{
		if                                              /* gate_close: own_gate */
		:: atomic { owner == 0 -> owner = me }
		:: atomic { GIVE_UP -> late = 1; owner = me }
		fi;
#ifndef MUT_NOBODY_ASKED          /* does not wait for those inside */
		w = 0;
		do
		:: w == WORKERS -> break
		:: w < WORKERS ->
			if
			:: depth[w] == 0
			:: atomic { GIVE_UP -> late = 1 }
			fi;
			w++
		od;
#endif
		w = 0;
		atomic { !locked -> locked = 1 };               /* fork itself */
		if
		:: goto parent
		:: skip
		fi
	} unless { forked };
	if
	:: atomic { !forked -> forked = 1 };
		locked = 0;
		child();
		goto out
	:: else -> goto out
	fi;
parent:	{
		locked = 0;
#ifndef MUT_GATE_LEFT_CLOSED
		if                                              /* gate_open: CAS */
		:: atomic { owner == me -> owner = 0 }
		:: else
		fi
#endif
	} unless { forked };
out:	skip
}

init
{
	byte i;

	atomic {
		do
		:: i < WORKERS ->
			if
			:: where[i] = APP
			:: where[i] = MAG; holds[i] = 1
			:: where[i] = POOL; free[i] = 1
			fi;
			run worker(i, OPS);
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < FORKERS -> i++; run forker(i)
		:: else -> break
		od
	};
	(_nr_pr == 1);
	assert(forked || owner == 0)
}
