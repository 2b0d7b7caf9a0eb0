/*
 * lend.pml -- a thread that sleeps lends its heap (core/lend.c)
 *
 * One heap, its owner, TENDERS threads that empty lent heaps, and a signal
 * handler that may interrupt the owner between any two steps but in its fast
 * paths: it allocates, or it makes a blocking call of its own.  Steps are those of
 * the C code; `blocks' are those in the magazines.
 *
 * PROVED  - nobody but the owner or one tender is at work on the magazines;
 *         - whoever allocates in the owner's place finds a heap, its own or the
 *           one it lent, and ends with the heap its own;
 *         - a heap that stays lent with something in it is found by the next
 *           look: it has news, and the index says so;
 *         - nobody waits for ever.
 */

#ifndef TENDERS
#define TENDERS 2
#endif
#ifndef OPS
#define OPS 3
#endif

#define OWNED   0
#define OFFERED 1
#define LENT    2
#define TENDED  3

byte lending;
bit  has_news;
bit  index;                       /* of lent heaps: bit of this one */
bit  current = 1;                 /* heap_current: the heap, or heap_none */
bit  lent;                        /* heap_lent: the heap, or NULL */
bit  blocks;                      /* ghost: something is in the magazines */
byte users;                       /* ghost: threads at work on them */
bit  busy;                        /* the owner is in malloc or free */
bit  in_handler;                  /* the owner is interrupted */
byte done;                        /* ghost */

inline use_magazines(what)
{
	atomic { users++; assert(users == 1) };
	atomic { blocks = what; users-- }
}

inline heap_end_loan()
{
	do
#ifdef MUT_TENDED_AND_OWNED       /* takes it from under a tender's hands */
	:: lending == OWNED -> break
	:: atomic { lending != OWNED -> lending = OWNED; break }
#else
	:: lending == OWNED -> break
	:: atomic { lending == OFFERED || lending == LENT -> lending = OWNED; break }
#endif
	od
}

inline heap_take_back()
{
	if
	:: lent ->
		heap_end_loan();
#ifdef MUT_NEITHER_FOR_A_MOMENT   /* a handler in between opens another heap */
		lent = 0;
		current = 1
#else
		current = 1;
		lent = 0
#endif
	:: else
	fi
}

/* A handler may come by at any step. */
inline heap_lend()
{
	if
	:: !current
	:: else ->
#ifdef MUT_LENT_WHILE_CURRENT     /* others empty it while a handler allocates */
		lending = LENT;
#else
		lending = OFFERED;
#endif
		lent = 1;
		current = 0;
		if
#ifdef MUT_LEND_BY_STORE          /* though a handler took it back meanwhile */
		:: atomic { true -> lending = LENT };
#else
#ifdef MUT_LENT_WHILE_CURRENT
		:: lending == LENT ->
#else
		:: atomic { lending == OFFERED -> lending = LENT };
#endif
#endif
			if
			:: has_news
			:: else -> has_news = 1; index = 1
			fi
#ifndef MUT_LEND_BY_STORE
		:: else -> current = 1; lent = 0
#endif
		fi
	fi
}

/* A slow path of malloc, or a fast one. */
inline allocate()
{
	assert(current || lent);
	heap_take_back();
	busy = 1;
	assert(current);
	use_magazines(1);
	busy = 0
}

proctype owner(byte n) provided (!in_handler)
{
	do
	:: n > 0 -> n--;
		allocate();
		heap_lend();
		if                        /* sleeps; here, or for good */
		:: heap_take_back()
		:: n = 0
		fi
	:: n == 0 -> break
	od;
	done++
}

/* Only while the owner is there to be interrupted. */
proctype handler()
{
	if
	:: atomic { done == 0 && !busy -> in_handler = 1 };
		if
		:: allocate()
		:: heap_lend(); heap_take_back()
		fi;
		in_handler = 0
	:: skip
	fi;
	done = done + 4
}

proctype tender()
{
	if
	:: !index -> goto out                           /* index_next */
	:: else
	fi;
#ifndef MUT_NEWS_CLEARED_LATE
	has_news = 0;
#endif
	index = 0;                                      /* index_settle */
#ifndef MUT_INDEX_NOT_SETTLED     /* no second look at the news; needs -DOPS=3 */
	if
	:: has_news -> index = 1
	:: else
	fi;
#endif
	if
	:: atomic { lending == LENT -> lending = TENDED };
		use_magazines(0);
		lending = LENT
	:: else
	fi;
#ifdef MUT_NEWS_CLEARED_LATE      /* also what came since it was emptied */
	has_news = 0;
#endif
out:	skip
}

init
{
	byte i;

	atomic {
		run owner(OPS);
		run handler();
		do
		:: i < TENDERS -> run tender(); i++
		:: else -> break
		od
	};
	(_nr_pr == 1);                                  /* at rest */
	assert(lending == OWNED || lending == LENT);
	assert(lending != LENT || !blocks || (has_news && index));
	assert((lending == OWNED) == current && current != lent)
}
