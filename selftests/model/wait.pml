/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting for data on a channel of kind MPSC: the data side of kmod/wait.c, with
 * the steps of Documentation/memory-ordering.rst and many-producers.rst: S1 to S5
 * of a sleeper, P2 to P4 and WAKE of publishers. Several sleepers with thresholds
 * of their own, which may leave (signal, deadline); a consumer that reads without
 * asking; an edge-triggered poller (POLL); publishers that die between any two
 * steps, the stamp and its WAKE included (DEATH); an owner's CLOSE (CLOSE).
 *
 * Publishers have store buffers, as on x86: what one has stamped becomes visible
 * when it likes, at the next locked instruction or full barrier, and when another
 * CPU interrupts it to make it execute one (S4). There is no mode to switch: the
 * kernel alone writes the wake word and moves the cost of the fence to the
 * sleeper. Where it cannot, the channel says SCATTO_F_FENCE and publishers fence
 * themselves; FENCE is that model.
 *
 * What must hold: when nobody can do anything any more, nobody sleeps for a
 * position that was reached or at the end of the stream, and no poller for an
 * event that is there. Who has returned success from a publication before CLOSE
 * has its event below the end, and not as a tombstone.
 *
 * Not here: mm_cpumask() (the barrier goes to all), weaker memory than x86's, the
 * kernel's own store buffers (S2 is a full barrier, and other writes of the word
 * only raise it), what repair decides (mpsc.pml), claims that wait (queue.pml),
 * two thresholds (threshold.pml).
 *
 * Mutations, each of which must fail:
 *
 *   M_NO_LOOK		no look before sleeping
 *   M_LOOK_FIRST	the look comes before the barrier
 *   M_NO_BARRIER	neither S4 nor a fence in the publisher
 *   M_WORD_FIRST	the compiler loads the word before it stores the stamp
 *   M_NO_P4_FENCE	no full barrier between P2 and the look in P4
 *   M_OWN_SLOT		only those look whose slot is below the word
 *   M_LEAVER_DISARMS	who leaves disarms for the others
 *   M_DEATH_QUIET	the end of a role makes nobody look again
 *   M_BELIEVES		a poller reads without calling ->poll, and nobody arms
 *   M_CLOSE_NO_BARRIER	CLOSE without S4
 *   M_CLOSE_PASSED	CLOSE does not see that the cursor has passed a slot
 */
#ifndef NP
#define NP	2	/* publishers */
#endif
#ifndef NS
#define NS	2	/* sleepers */
#endif
#ifndef CAP
#define CAP	2	/* slots */
#endif
#ifndef LAST
#define LAST	3	/* positions in all */
#endif

#define IDLE	255
#define OPEN	255
#define lap(s)	((s) / CAP + 1)
#define slot(s)	((s) % CAP)
#define min(a, b) ((a) < (b) -> (a) : (b))

/* As memory has them. */
byte claimed, cursor;
byte stamp[CAP];
byte word = IDLE;
byte end_at = OPEN;

/*
 * What publisher i has stamped and nobody else sees yet: position + 1. One entry
 * is exact, for the next claim is a locked instruction and waits for it.
 */
byte buffer[NP];

/* The side, under its lock. */
bit lock;
bit queued[NS], woken[NS];
byte want[NS];
byte poll_at = IDLE;
bit gone;		/* the word is 0 for good */
bit ready;		/* epoll has been told */

#define ALIVE	0
#define DYING	1
#define BURIED	2
byte life[NP];
#if NP > 2
#define nobody	(life[0] == BURIED && life[1] == BURIED && life[2] == BURIED)
#else
#define nobody	(life[0] == BURIED && life[1] == BURIED)
#endif
byte claim[NP];		/* position + 1 that is claimed and not stamped */

/* For the proof */
bit asleep[NS], idle_poller;
bit stop;		/* from any time on nothing new happens */
#ifdef CLOSE
bit told[LAST];		/* its publisher has returned success */
bit taken[LAST];	/* CLOSE has made it a tombstone */
#endif

#define stamped(s)	(stamp[slot(s)] == lap(s))

inline drain(p)
{
	if
	:: buffer[p] -> stamp[slot(buffer[p] - 1)] = lap(buffer[p] - 1); buffer[p] = 0
	:: else
	fi
}

/* Everything from @c to @w is stamped, as seen by the CPU of @me. */
inline look(me, c, w)
{
	x = c;
	do
	:: x < w && (stamped(x) || (me < NP && buffer[me] == x + 1)) -> x++
	:: else -> break
	od;
	seen = (x >= w);
	x = 0
}

inline arm()
{
	word = poll_at;
	x = 0;
	do
	:: x < NS ->
		word = (queued[x] && want[x] < word -> want[x] : word);
		x++
	:: else -> break
	od;
	word = (gone -> 0 : word);
	x = 0
}

/* SCATTO_IOC_WAKE and its like: judges, then wakes and arms. */
inline wake_side()
{
	atomic {
		!lock ->
		lock = true;
		edge = cursor;
		do
		:: edge < LAST && stamped(edge) -> edge++
		:: else -> break
		od
	}
	atomic {
		x = 0;
		do
		:: x < NS ->
			if
			:: queued[x] && (want[x] <= edge || end_at != OPEN) ->
				queued[x] = false;
				woken[x] = true
			:: else
			fi;
			x++
		:: else -> break
		od;
#ifdef POLL
		if
		:: poll_at != IDLE -> poll_at = IDLE; ready = true
		:: else
		fi;
#endif
		arm();
		edge = 0;
		lock = false
	}
}

/*
 * S4: each publisher's CPU executes a full barrier, in any order; then the first
 * load of S5.
 */
#if defined(FENCE) || defined(M_NO_BARRIER)
#define barrier_and_load(to, from)	to = from
#else
inline barrier_and_load(to, from)
{
	do
	:: atomic { !(ipi & 1) -> drain(0); ipi = ipi | 1 }
	:: atomic { !(ipi & 2) -> drain(1); ipi = ipi | 2 }
#if NP > 2
	:: atomic { !(ipi & 4) -> drain(2); ipi = ipi | 4 }
#endif
	:: atomic { ipi == (1 << NP) - 1 -> ipi = 0; to = from; break }
	od
}
#endif

#ifdef DEATH
#define or_dies	:: atomic { !stop -> life[i] = DYING; s = 0; w = 0; c = 0; goto end_dead }
#else
#define or_dies
#endif

proctype publisher(byte i)
{
	byte s, w, c, x, edge;
	bit seen;

end:
	if
	:: atomic {
		!stop && claimed < LAST && claimed < cursor + CAP ->
		drain(i);
		s = claimed;				/* C6 */
		claimed++;
		claim[i] = s + 1
	   }
	or_dies
	fi;
#ifdef M_WORD_FIRST
	w = word;
#endif
	if
	:: atomic {
		buffer[i] = s + 1;			/* P2 */
		claim[i] = 0;
#ifdef FENCE
		drain(i)
#endif
	   }
	or_dies
	fi;
	if
	:: atomic {
#ifndef M_WORD_FIRST
		w = word;				/* P3 */
#endif
#ifdef CLOSE
		if
		:: w == 0 -> goto end_closed		/* -EPIPE */
		:: else
		fi;
		told[s] = true;
		assert(!taken[s]);
		assert(end_at == OPEN || s < end_at);
#endif
		if
		:: w == IDLE -> s = 0; w = 0; goto end
#ifdef M_OWN_SLOT
		:: w <= s -> s = 0; w = 0; goto end
#endif
		:: else
		fi
	   }
	or_dies
	fi;
	if
	:: atomic {
#ifndef M_NO_P4_FENCE
		drain(i);				/* P4 */
#endif
		c = cursor
	   }
	or_dies
	fi;
	if
	:: atomic {
		look(i, c, w);
		s = 0; c = 0; w = 0;
		if
		:: seen -> seen = false
		:: else -> goto end
		fi
	   }
	or_dies
	fi;
#ifdef M_NO_P4_FENCE
	atomic { drain(i) };
#endif
	if						/* WAKE */
	:: skip
	or_dies
	fi;
	wake_side();
	goto end;
#ifdef CLOSE
end_closed:
	false;
#endif
#ifdef DEATH
end_dead:
	false
#endif
	skip
}

/* A store reaches memory whenever it likes. */
proctype buffers()
{
end:	do
	:: atomic { buffer[0] -> drain(0) }
	:: atomic { buffer[1] -> drain(1) }
#if NP > 2
	:: atomic { buffer[2] -> drain(2) }
#endif
	od
}

#ifdef DEATH
/* The end of a role: what was claimed is decided, then both sides look. */
proctype death()
{
	byte i, x, edge;

end:	do
	:: atomic {
		if
		:: life[0] == DYING -> i = 0
		:: life[1] == DYING -> i = 1
#if NP > 2
		:: life[2] == DYING -> i = 2
#endif
		fi;
		life[i] = BURIED;
		drain(i);
		if
		:: claim[i] && !stamped(claim[i] - 1) && cursor < claim[i] ->
			stamp[slot(claim[i] - 1)] = lap(claim[i] - 1);
			claim[i] = 0
		:: else
		fi;
		i = 0;
		if
		:: end_at == OPEN && nobody -> end_at = claimed
		:: else
		fi
	   }
#ifndef M_DEATH_QUIET
	   wake_side()
#endif
	od
}
#endif

/* SCATTO_IOC_WAIT */
proctype sleeper(byte i)
{
	byte c, x, ipi;
	bit seen;

end:
	atomic {
		!stop && !lock && cursor < LAST ->
		want[i] = cursor + 1;
		do
		:: want[i] < LAST && want[i] < cursor + CAP -> want[i]++
		:: break
		od;
		queued[i] = true;			/* S1 */
		arm()
	}						/* S2, S3 */
#ifdef M_LOOK_FIRST
	c = cursor;
	atomic { look(NP, c, want[i]); c = 0 }
#endif
	barrier_and_load(c, cursor);			/* S4 */
#ifndef M_LOOK_FIRST
	atomic { look(NP, c, want[i]); c = 0 }		/* S5 */
#endif
	atomic {
#ifdef M_NO_LOOK
		seen = false;
#endif
		if
		:: seen || end_at != OPEN -> seen = false; goto leave
		:: else -> asleep[i] = true
		fi
	}
end_asleep:
	if
	:: atomic {
		woken[i] ->
		asleep[i] = false;
		woken[i] = false;
		want[i] = 0;
		goto end_done
	   }
	:: atomic { !stop -> asleep[i] = false }	/* a signal, a deadline */
	fi;
leave:
	atomic {
		!lock ->
		if
		:: queued[i] ->
			queued[i] = false;
#ifdef M_LEAVER_DISARMS
			word = IDLE
#else
			arm()
#endif
		:: else -> woken[i] = false
		fi;
		want[i] = 0
	}
end_done:
	false
}

#ifdef POLL
/* Edge-triggered epoll, and who reads when it says so. */
proctype poller()
{
	byte edge, c, x, ipi;
	bit seen;

poll:
	atomic {
		!lock ->
		edge = cursor;
		do
		:: edge < LAST && stamped(edge) -> edge++
		:: else -> break
		od;
		lock = true
	}
	atomic {
		poll_at = min(poll_at, edge + 1);
		arm();
		lock = false
	}
	barrier_and_load(c, cursor);
	atomic {
		look(NP, c, edge + 1);
		seen = (seen || edge != c);
		edge = 0; c = 0;
		if
		:: seen -> seen = false; goto read
		:: else -> idle_poller = true
		fi
	}
end_idle:
	atomic {
		ready ->
		ready = false;
		idle_poller = false;
#ifdef M_BELIEVES
		goto read
#else
		goto poll
#endif
	}
read:
	do
	:: atomic { stamped(cursor) -> cursor++ }
	:: atomic { !stamped(cursor) -> idle_poller = true; goto end_idle }
	od
}
#else
/* Reads as soon as it likes, and disarms nothing. */
proctype consumer()
{
end:	do
	:: atomic { stamped(cursor) && cursor < LAST -> cursor++ }
	od
}
#endif

#ifdef CLOSE
/* The owner's CLOSE */
proctype closer()
{
	byte s, c, edge, x, ipi;

	atomic { !lock -> gone = true; arm() }
#ifdef M_CLOSE_NO_BARRIER
	c = claimed;
#else
	barrier_and_load(c, claimed);
#endif
	s = cursor;
	do
	:: atomic {
		s < c ->
		if
#ifdef M_CLOSE_PASSED
		:: !stamped(s) ->
#else
		:: !stamped(s) && cursor <= s ->
#endif
			stamp[slot(s)] = lap(s);
			taken[s] = true;
			assert(!told[s])
		:: else
		fi;
		s++
	   }
	:: s >= c -> break
	od;
	atomic {
		end_at = c;
		s = c;
		do
		:: s < LAST -> assert(!told[s]); s++
		:: else -> break
		od;
		s = 0; c = 0
	}
	wake_side()
}
#endif

/* Nobody can do anything any more. */
proctype check()
{
	byte i, x;
	bit seen;

	stop = true;
	timeout;
	d_step {
		do
		:: i < NS ->
			look(NP, cursor, want[i]);
			assert(!asleep[i] || (!seen && end_at == OPEN));
			i++
		:: else -> break
		od;
		assert(!idle_poller || !stamped(cursor))
	}
}

init
{
	byte i;

	atomic {
		do
		:: i < NP -> run publisher(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < NS -> run sleeper(i); i++
		:: else -> break
		od;
		run buffers();
#ifdef DEATH
		run death();
#endif
#ifdef POLL
		run poller();
#else
		run consumer();
#endif
#ifdef CLOSE
		run closer();
#endif
		run check()
	}
}
