// SPDX-License-Identifier: GPL-2.0-only
/* The percentiles that scatto-top prints, against sorted values. */
#include "kselftest_harness.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/tools/histogram.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

static struct histogram h;

static int compare(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

TEST(percentiles)
{
	static const double percent[] = { 0, 1, 50, 90, 99, 99.9 };
	enum { N = 20000 };
	static __u64 values[N];
	__u64 seed = 1;
	int i;

	/* All magnitudes alike. */
	for (i = 0; i < N; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		values[i] = seed >> (seed >> 58);
		histogram_add(&h, values[i]);
	}
	qsort(values, N, sizeof(values[0]), compare);

	EXPECT_EQ(N, h.count);
	EXPECT_EQ(values[N - 1], h.max);
	for (i = 0; i < (int)ARRAY_LEN(percent); i++) {
		__u64 want = values[(int)(N * percent[i] / 100)];
		__u64 got = histogram_percentile(&h, percent[i]);

		EXPECT_LE(want, got);
		EXPECT_GE(want / 64, got - want);
	}
	EXPECT_EQ(h.max, histogram_percentile(&h, 100));
}

/* Small values are exact; each power of two goes on where the last ended. */
TEST(edges)
{
	__u64 value;
	int bit;

	for (value = 0; value < 200; value++) {
		memset(&h, 0, sizeof(h));
		histogram_add(&h, value);
		EXPECT_EQ(value, histogram_percentile(&h, 50));
	}
	for (bit = 0; bit < 64; bit++) {
		memset(&h, 0, sizeof(h));
		value = 1ULL << bit;
		histogram_add(&h, value - 1);
		histogram_add(&h, value);
		EXPECT_EQ(value - 1, histogram_percentile(&h, 0));
		EXPECT_EQ(value, histogram_percentile(&h, 50));
	}
	memset(&h, 0, sizeof(h));
	EXPECT_EQ(0, histogram_percentile(&h, 50));
	histogram_add(&h, ~0ULL);
	EXPECT_EQ(~0ULL, histogram_percentile(&h, 99));
}

TEST_HARNESS_MAIN
