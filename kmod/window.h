/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The windows between two steps, where races happen. A module built with
 * CONFIG_SCATTO_DEBUG=y can be made to stay in them for a while, see window.c; in
 * any other they are nothing. A window is named after the step before it, as in
 * Documentation/many-producers.rst (C, P, Q, D, R) and memory-ordering.rst (S),
 * where the step has a name.
 */
#ifndef _SCATTO_WINDOW_H
#define _SCATTO_WINDOW_H

#define SCATTO_WINDOWS(x)						\
	x(LOOK)		/* has to wait, has not armed yet */		\
	x(S1)		/* armed, but no barrier yet */			\
	x(S3)		/* knows whom to interrupt */			\
	x(S4)		/* has had the barrier, has not looked yet */	\
	x(S5)		/* has looked, does not sleep yet */		\
	x(ROUSE)	/* a sleeper is found ready, not awake yet */	\
	x(LEAVE)	/* a sleeper has its reason, is queued still */	\
	x(POLL)		/* has looked for the edge, not armed yet */	\
	x(GRANT)	/* claimed for a caller, not written down */	\
	x(Q3)		/* granted, but not awake yet */		\
	x(Q4)		/* not granted, does not sleep yet */		\
	x(LEFT)		/* out of the queue, has not looked for others */ \
	x(TOLD)		/* granted, but the caller does not know */	\
	x(D1)		/* has read claimed, not what it is to repair */ \
	x(R1)		/* has read the intents, no stamp yet */	\
	x(R2)		/* has read the stamp, not written it */	\
	x(PLACE)	/* has a place, but no role yet */		\
	x(ROLE)		/* has no role any more, but its place */	\
	x(CLOSE)	/* producers were told, no end yet */		\
	x(END)		/* ended, but nobody was told */		\
	x(UNMAP)	/* not mapped any more, still in its role */	\
	x(FIND)		/* found by name, no reference yet */		\
	x(PUT)		/* no reference any more, has its name */	\
	x(C5)		/* the kernel intends to claim */		\
	x(C6)		/* the kernel has claimed */			\
	x(P2)		/* the kernel has stamped, not looked yet */

#define SCATTO_WINDOW_ID(name)	SCATTO_WINDOW_##name,

enum scatto_window {
	SCATTO_WINDOWS(SCATTO_WINDOW_ID)
	SCATTO_NR_WINDOWS,
};

#ifdef CONFIG_SCATTO_DEBUG
void scatto_stay(enum scatto_window window, bool may_sleep);
#else
static inline void scatto_stay(enum scatto_window window, bool may_sleep)
{
}
#endif

/* In any context, NMI included. */
#define scatto_window(name)		scatto_stay(SCATTO_WINDOW_##name, false)
/* Where the caller may sleep. */
#define scatto_window_sleep(name)	scatto_stay(SCATTO_WINDOW_##name, true)

#endif /* _SCATTO_WINDOW_H */
