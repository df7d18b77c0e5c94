/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * A histogram of 64-bit values of unknown range: each power of two is divided
 * into 64 buckets, so that what it reports is at most 1/64 above the truth and
 * never below.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <linux/types.h>

#define HISTOGRAM_BITS		6	/* log2 of: */
#define HISTOGRAM_SUB		64U
#define HISTOGRAM_BUCKETS	((64 - HISTOGRAM_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
	__u64 count;
	__u64 max;
	__u64 bucket[HISTOGRAM_BUCKETS];
};

static inline void histogram_add(struct histogram *h, __u64 value)
{
	unsigned int shift = 0;

	if (value >= HISTOGRAM_SUB)
		shift = 63 - __builtin_clzll(value) - HISTOGRAM_BITS;
	h->bucket[shift * HISTOGRAM_SUB + (value >> shift)]++;
	h->count++;
	if (value > h->max)
		h->max = value;
}

/* The value that @percent of all do not exceed. */
static inline __u64 histogram_percentile(const struct histogram *h,
					 double percent)
{
	__u64 rank = (__u64)((double)h->count * percent / 100);
	__u64 seen = 0, top;
	unsigned int i, shift;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen <= rank)
			continue;
		shift = i < HISTOGRAM_SUB ? 0 : i / HISTOGRAM_SUB - 1;
		top = ((i - shift * HISTOGRAM_SUB + 1ULL) << shift) - 1;
		return top < h->max ? top : h->max;
	}
	return h->max;
}

#endif /* HISTOGRAM_H */
