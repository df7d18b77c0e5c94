/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two sides that sleep for thresholds: SCATTO_WAIT_ENOUGH. A consumer waits for a
 * full ring and says that ENOUGH events will do while somebody sleeps on the
 * other side; publishers wait for room for what they want to claim, and publish
 * one after the other what they have claimed.
 *
 * With several publishers one may sleep while another goes on publishing. So the
 * data word has to say what is enough, from the moment when somebody falls asleep
 * on the other side: who does so counts itself, arms the word of this side anew
 * (which gets lower: then come the barriers, and then a look).
 *
 * What must hold: when nobody can do anything any more, nobody sleeps for a
 * position that was reached, or that is enough while the other side sleeps.
 *
 * Not here: store buffers (wait.pml); each step is seen at once.
 *
 * Mutations, each of which must fail:
 *
 *   M_NO_YIELD		what is wanted counts, whoever sleeps
 *   M_OTHER_QUIET	who falls asleep does not make the other side look
 *   M_ARM_WANT		the word says what is wanted, not what is enough. With
 *			one publisher this holds
 *   M_NO_LOWER		the look comes before the lower word is armed
 *   M_COUNT_LATE	the word is armed before the sleeper is counted
 */
#ifndef NP
#define NP	2	/* publishers */
#endif
#ifndef CAP
#define CAP	3	/* slots */
#endif
#ifndef LAST
#define LAST	4	/* positions in all */
#endif

#ifndef ENOUGH
#define ENOUGH	2
#endif

#define IDLE	255
#define lap(s)	((s) / CAP + 1)
#define slot(s)	((s) % CAP)
#define stamped(s) (stamp[slot(s)] == lap(s))
#define min(a, b) ((a) < (b) -> (a) : (b))

byte claimed, cursor;
byte stamp[CAP];
byte data_word = IDLE, space_word = IDLE;

/* One consumer waits for data, publishers for space. */
bit data_lock, data_queued, data_woken;
byte data_want, data_enough;
bit space_lock, space_queued[NP], space_woken[NP];
byte space_want[NP];
byte nr_data, nr_space;		/* sleepers of each side */

/* For the proof */
bit asleep;
bit stop;			/* from any time on nothing new happens */

#ifdef M_NO_YIELD
#define effective	data_want
#else
#define effective	(nr_space -> data_enough : data_want)
#endif

inline data_edge()
{
	pos = cursor;
	do
	:: pos < claimed && stamped(pos) -> pos++
	:: else -> break
	od
}

inline data_arm()
{
#ifdef M_ARM_WANT
	data_word = (data_queued -> data_want : IDLE)
#else
	data_word = (data_queued -> effective : IDLE)
#endif
}

inline data_wake()
{
	atomic {
		!data_lock ->
		data_lock = true;
		data_edge()
	}
	atomic {
		if
		:: data_queued && effective <= pos ->
			data_queued = false;
			data_woken = true;
			nr_data--
		:: else
		fi;
		data_arm();
		pos = 0;
		data_lock = false
	}
}

inline space_arm()
{
	space_word = IDLE;
	x = 0;
	do
	:: x < NP ->
		space_word = (space_queued[x] -> min(space_word, space_want[x]) : space_word);
		x++
	:: else -> break
	od;
	x = 0
}

inline space_wake()
{
	atomic {
		!space_lock ->
		space_lock = true;
		pos = cursor
	}
	atomic {
		x = 0;
		do
		:: x < NP ->
			if
			:: space_queued[x] && space_want[x] <= pos ->
				space_queued[x] = false;
				space_woken[x] = true;
				nr_space--
			:: else
			fi;
			x++
		:: else -> break
		od;
		space_arm();
		pos = 0;
		space_lock = false
	}
}

/* Claims, publishes one after the other, looks at the word each time. */
proctype publisher(byte i)
{
	byte n, s, w, x, pos;

end:
	atomic {
		!stop && claimed < LAST ->
		n = 1;
		do
		:: n < CAP && claimed + n < LAST -> n++
		:: break
		od;
		if
		:: claimed + n <= cursor + CAP
		:: else -> space_want[i] = claimed + n - CAP; n = 0; goto sleep
		fi;
		s = claimed;
		claimed = claimed + n
	}
publish:
	atomic { stamp[slot(s)] = lap(s); s++; n-- }
	w = data_word;
	atomic {
		x = cursor;
		do
		:: x < w && stamped(x) && w != IDLE -> x++
		:: else -> break
		od;
		if
		:: x >= w -> x = 0; w = 0
		:: x < w && n > 0 -> x = 0; w = 0; goto publish
		:: x < w && n == 0 -> x = 0; w = 0; s = 0; goto end
		fi
	}
	data_wake();
	if
	:: n > 0 -> goto publish
	:: atomic { n == 0 -> s = 0; goto end }
	fi;

sleep:
	atomic {
		!space_lock ->
		space_queued[i] = true;
		space_arm();
		nr_space++
	}
#ifndef M_OTHER_QUIET
	if
	:: nr_data ->
#ifndef M_NO_LOWER
		/* The data word gets lower: arm, then look. */
		atomic { !data_lock -> data_arm() }
#endif
		data_wake()
	:: !nr_data
	fi;
#endif
	if
	:: atomic { cursor >= space_want[i] || space_woken[i] -> goto leave }
	:: cursor < space_want[i] && !space_woken[i]
	fi;
end_asleep:
	space_woken[i] || !stop;
leave:
	atomic {
		!space_lock ->
		if
		:: space_queued[i] ->
			space_queued[i] = false;
			nr_space--;
			space_arm()
		:: else
		fi;
		space_woken[i] = false;
		space_want[i] = 0;
		goto end
	}
}

/* Waits for a threshold, takes what is there, releases it at once. */
proctype consumer()
{
	byte w, x, pos;

end:
	atomic {
		!data_lock && !stop ->
		data_want = cursor + CAP;
		data_enough = cursor + ENOUGH;
		data_queued = true;
#ifdef M_COUNT_LATE
		data_arm()
	}
	nr_data++;
#else
		nr_data++;
		data_arm()
	}
#endif
	if
	:: nr_space -> space_wake()
	:: !nr_space
	fi;
	atomic {
		data_edge();
		if
		:: data_woken || pos >= effective -> pos = 0; goto leave
		:: else -> pos = 0; asleep = true
		fi
	}
end_asleep:
	data_woken || !stop;
leave:
	atomic {
		!data_lock ->
		asleep = false;
		if
		:: data_queued ->
			data_queued = false;
			nr_data--;
			data_arm()
		:: else
		fi;
		data_woken = false;
		data_want = 0; data_enough = 0;
		data_edge();
		cursor = pos;
		pos = 0
	}
	w = space_word;
	if
	:: atomic { w <= cursor -> w = 0 }; space_wake()
	:: atomic { w > cursor -> w = 0 }
	fi;
	goto end
}

/* Nobody can do anything any more. */
proctype check()
{
	byte i, pos;

	stop = true;
	timeout;
	d_step {
		data_edge();
		assert(!asleep || pos < (nr_space -> data_enough : data_want));
		do
		:: i < NP -> assert(!space_queued[i] || cursor < space_want[i]); i++
		:: else -> break
		od
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
		run consumer();
		run check()
	}
}
