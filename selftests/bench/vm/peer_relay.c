// SPDX-License-Identifier: GPL-2.0-only
/* relayfs: a file in debugfs, which tells a reader about whole sub-buffers only. */
#include "stream.h"

#define FILE_OF_CPU	"/sys/kernel/debug/scatto_bench/" SB_CHANNEL "%u"

static int fd = -1;

/*
 * A reader that catches up with the writer at the end of a full buffer may be given a
 * lap of it once more. Who uses relayfs has to notice; so do we.
 */
static uint64_t repeated;

int relay_open(const struct stream *s, uint32_t slots, bool wakes)
{
	char path[128];
	int ret = stream_attach(s->probe, slots);

	if (ret)
		return ret;
	snprintf(path, sizeof(path), FILE_OF_CPU, STREAM_CPU);
	fd = check_errno(path, open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	return 0;
}

void relay_drain(void)
{
	static struct sb_record records[1024];
	ssize_t n;

	while ((n = read(fd, records, sizeof(records))) > 0) {
		size_t i;

		if (n % sizeof(records[0]))
			die("relay: %zd bytes", n);
		for (i = 0; i < n / sizeof(records[0]); i++) {
			if (records[i].word[0] < got.next)
				repeated++;
			else
				received(&records[i]);
		}
	}
	if (n < 0 && errno != EAGAIN)
		check_errno("relay: read", n);
}

void relay_wait(int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	poll(&p, 1, ms);
}

void relay_close(void)
{
	if (repeated)
		fprintf(stderr, "relayfs: %ju records were read twice\n", (uintmax_t)repeated);
	repeated = 0;
	close(fd);
	stream_attach(SB_NONE, 0);
}
