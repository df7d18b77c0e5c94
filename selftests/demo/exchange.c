// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two processes exchange events in both directions at the same time.
 *
 *        first process                         second process
 *   sending thread  ----- channel "there" ----->  receiving thread
 *   receiving thread <---- channel "back" ------  sending thread
 *
 * The first creates the channels and starts the second, a program of its own
 * that attaches by name (on the local backend, where there are no names, by
 * inherited file descriptor). Every event carries its number, contents that
 * follow from it and a checksum; each side computes a checksum over all it sends
 * and over all it receives, and at the end returns the latter to the sender, who
 * compares.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <scatto.h>

/* Waiting longer than this means that the other side is stuck or gone. */
#define PATIENCE_NS	(60ULL * 1000000000)

#define WORDS	6

struct event {
	__u64 seq;
	__u64 data[WORDS];
	__u64 check;
};

/* After the last event: what the other side has received. */
#define RECEIPT	(~0ULL)

struct half {
	struct scatto_producer *out;
	struct scatto_consumer *in;
	__u64 salt_out;		/* makes the two streams different */
	__u64 salt_in;
	__u64 sum_out;		/* over all that was sent */
	__u64 sum_in;
	int ret_out;
	int ret_in;
};

static __u64 nr_events = 1000000;
static __u64 capacity = 1024;
static __u32 batch = 32;
static __u32 backend = SCATTO_BACKEND_KERNEL;
static const char *who = "first";

static __u64 mix(__u64 x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* Depends on the order of the words, and in the caller of the events. */
static __u64 checksum(const struct event *ev)
{
	__u64 sum = ev->seq;
	int i;

	for (i = 0; i < WORDS; i++)
		sum = (sum << 7 | sum >> 57) ^ ev->data[i];
	return mix(sum);
}

static void make(struct event *ev, __u64 seq, __u64 salt)
{
	int i;

	ev->seq = seq;
	for (i = 0; i < WORDS; i++)
		ev->data[i] = (seq ^ salt) + i;
	ev->check = checksum(ev);
}

static __u64 accumulate(__u64 sum, const struct event *ev)
{
	return (sum << 1 | sum >> 63) ^ ev->check;
}

static int complain(const char *what, int err)
{
	fprintf(stderr, "exchange (%s process): %s: %s\n", who, what,
		strerror(-err));
	return err;
}

/* Written in place, a batch at a time. */
static void *send_all(void *arg)
{
	struct half *h = arg;
	__u64 seq = 0;
	__u32 i, n;
	int ret;

	while (seq < nr_events) {
		n = nr_events - seq < batch ? nr_events - seq : batch;
		ret = scatto_claim_batch_until(h->out, n,
					       scatto_deadline(PATIENCE_NS));
		if (ret) {
			h->ret_out = complain("claiming", ret);
			return NULL;
		}
		for (i = 0; i < n; i++) {
			struct event *ev = scatto_claim_slot(h->out, i);

			make(ev, seq + i, h->salt_out);
			h->sum_out = accumulate(h->sum_out, ev);
		}
		ret = scatto_publish(h->out);
		if (ret) {
			h->ret_out = complain("publishing", ret);
			return NULL;
		}
		seq += n;
	}
	return NULL;
}

/* A copy is what is checked: the other process can still write the slot. */
static int check_event(const struct half *h, const struct event *ev, __u64 seq)
{
	struct event expected;

	make(&expected, seq, h->salt_in);
	if (!memcmp(ev, &expected, sizeof(expected)))
		return 0;
	fprintf(stderr, "event %llu came as %llu, checksum %016llx, not %016llx\n",
		seq, ev->seq, ev->check, expected.check);
	return complain("comparing", -EBADMSG);
}

static void *receive_all(void *arg)
{
	struct half *h = arg;
	__u64 seq = 0;
	int i, n;

	while (seq < nr_events) {
		__u64 left = nr_events - seq;

		n = scatto_wait_data(h->in, 1, scatto_deadline(PATIENCE_NS));
		if (n > 0)
			n = scatto_peek(h->in, left < batch ? left : batch);
		if (n < 0) {
			h->ret_in = complain("receiving", n);
			return NULL;
		}
		for (i = 0; i < n; i++) {
			struct event ev;

			memcpy(&ev, scatto_peek_slot(h->in, i), sizeof(ev));
			h->ret_in = check_event(h, &ev, seq + i);
			if (h->ret_in)
				return NULL;
			h->sum_in = accumulate(h->sum_in, &ev);
		}
		scatto_release(h->in, n);
		seq += n;
	}
	return NULL;
}

static int exchange_receipts(struct half *h)
{
	struct event ev = {
		.seq = RECEIPT,
		.data = { nr_events, h->sum_in },
	};
	int ret;

	ev.check = checksum(&ev);
	ret = scatto_send_until(h->out, &ev, scatto_deadline(PATIENCE_NS));
	if (ret)
		return complain("sending the receipt", ret);
	ret = scatto_recv_until(h->in, &ev, scatto_deadline(PATIENCE_NS));
	if (ret)
		return complain("waiting for the receipt", ret);
	if (ev.seq != RECEIPT || ev.check != checksum(&ev) ||
	    ev.data[0] != nr_events || ev.data[1] != h->sum_out)
		return complain("comparing the receipt with what was sent",
				-EBADMSG);
	return 0;
}

static int run(struct half *h)
{
	pthread_t sender;
	int ret;

	ret = pthread_create(&sender, NULL, send_all, h);
	if (ret)
		return complain("starting a thread", -ret);
	receive_all(h);
	if (h->ret_in) {
		/* The sender may wait for ever, and the other side too. */
		_exit(1);
	}
	pthread_join(sender, NULL);
	if (h->ret_out)
		return h->ret_out;
	return exchange_receipts(h);
}

static int second_process(const char *there, const char *back)
{
	struct half h = { .salt_out = 2, .salt_in = 1 };
	int ret;

	who = "second";
	if (backend == SCATTO_BACKEND_LOCAL) {
		ret = scatto_consumer_from_fd(atoi(there), &h.in);
		if (!ret)
			ret = scatto_producer_from_fd(atoi(back), &h.out);
	} else {
		ret = scatto_consumer_open(there, &h.in);
		if (!ret)
			ret = scatto_producer_open(back, &h.out);
	}
	if (ret) {
		complain("attaching", ret);
		return 1;
	}
	ret = run(&h);
	scatto_producer_close(h.out);
	scatto_consumer_close(h.in);
	return ret ? 1 : 0;
}

static int create(struct scatto_channel **ch, const char *name)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg),
		.backend = backend,
		.kind = SCATTO_KIND_SPSC,
		.slot_size = sizeof(struct event),
		.capacity = capacity,
	};

	if (backend == SCATTO_BACKEND_KERNEL) {
		cfg.name = name;
		cfg.mode = 0600;
	}
	return scatto_channel_create(&cfg, ch);
}

/* What the second process is given to find a channel. */
static int address(const struct scatto_channel *ch, char *name, size_t size)
{
	int fd;

	if (backend == SCATTO_BACKEND_KERNEL)
		return 0;
	fd = dup(scatto_channel_fd(ch));
	if (fd < 0)
		return -errno;
	snprintf(name, size, "%d", fd);
	return 0;
}

static void counters(const char *what, const struct scatto_channel *ch)
{
	struct scatto_info info = { .size = sizeof(info) };

	if (scatto_channel_info(ch, &info))
		return;
	printf("  %-5s for data %llu sleeps, %llu wakes; for space %llu, %llu\n",
	       what, info.data_sleeps, info.data_wakes, info.space_sleeps,
	       info.space_wakes);
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static int start_second(pid_t *pid, char *there, char *back)
{
	char events[24], slots[24], size[24];
	char * const argv[] = {
		"exchange", "--second",
		backend == SCATTO_BACKEND_LOCAL ? "--local" : "--kernel",
		"--events", events, "--capacity", slots, "--batch", size,
		there, back, NULL
	};

	snprintf(events, sizeof(events), "%llu", nr_events);
	snprintf(slots, sizeof(slots), "%llu", capacity);
	snprintf(size, sizeof(size), "%u", batch);
	return -posix_spawn(pid, "/proc/self/exe", NULL, NULL, argv, environ);
}

static int first_process(void)
{
	struct half h = { .salt_out = 1, .salt_in = 2 };
	struct scatto_channel *there, *back;
	char name_there[64], name_back[64];
	int ret, status;
	__u64 start;
	double took;
	pid_t pid;

	snprintf(name_there, sizeof(name_there), "exchange.%d.there", getpid());
	snprintf(name_back, sizeof(name_back), "exchange.%d.back", getpid());
	ret = create(&there, name_there);
	if (!ret)
		ret = create(&back, name_back);
	if (ret == -ENODEV) {
		fprintf(stderr, "exchange: load the module scatto, or use --local\n");
		return 1;
	}
	if (!ret)
		ret = scatto_producer_attach(there, &h.out);
	if (!ret)
		ret = scatto_consumer_attach(back, &h.in);
	if (!ret)
		ret = address(there, name_there, sizeof(name_there));
	if (!ret)
		ret = address(back, name_back, sizeof(name_back));
	if (!ret)
		ret = start_second(&pid, name_there, name_back);
	if (ret) {
		complain("creating the channels", ret);
		return 1;
	}
	printf("processes %d and %d, %s, %zu-byte events, capacity %llu, batches of %u\n",
	       getpid(), pid, backend == SCATTO_BACKEND_LOCAL ?
	       "local backend" : "/dev/scatto", sizeof(struct event), capacity,
	       batch);
	fflush(stdout);

	/* Its start is not what is measured. */
	ret = scatto_wait_data(h.in, 1, scatto_deadline(PATIENCE_NS));
	if (ret < 0) {
		complain("waiting for the second process", ret);
		return 1;
	}
	start = now_ns();
	ret = run(&h);
	took = (now_ns() - start) / 1e9;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status)) {
		fprintf(stderr, "exchange: the second process failed\n");
		ret = ret ? ret : -EIO;
	}
	if (!ret) {
		printf("  there %llu events, checksum %016llx confirmed by %d\n",
		       nr_events, h.sum_out, pid);
		printf("  back  %llu events, checksum %016llx confirmed by %d\n",
		       nr_events, h.sum_in, getpid());
		printf("  %.2f s, %.0f events/s in both directions together\n",
		       took, 2 * nr_events / took);
		counters("there", there);
		counters("back", back);
	}
	scatto_producer_close(h.out);
	scatto_consumer_close(h.in);
	scatto_channel_free(there);
	scatto_channel_free(back);
	return ret ? 1 : 0;
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"Usage: exchange [options]\n"
		"Two processes exchange events in both directions.\n"
		"\n"
		"  --events N     in each direction (default 1000000)\n"
		"  --capacity N   slots of a channel, a power of two (default 1024)\n"
		"  --batch N      events published or read at once (default 32)\n"
		"  --local        without the module\n");
	return status;
}

static __u64 parse_number(const char *text)
{
	unsigned long long value;
	char *rest;

	errno = 0;
	value = strtoull(text, &rest, 10);
	if (errno || *rest || !value)
		exit(usage(2));
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "events", required_argument, NULL, 'e' },
		{ "capacity", required_argument, NULL, 'c' },
		{ "batch", required_argument, NULL, 'b' },
		{ "local", no_argument, NULL, 'l' },
		{ "kernel", no_argument, NULL, 'k' },
		{ "second", no_argument, NULL, '2' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool second = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'e':
			nr_events = parse_number(optarg);
			break;
		case 'c':
			capacity = parse_number(optarg);
			break;
		case 'b':
			batch = parse_number(optarg);
			break;
		case 'l':
			backend = SCATTO_BACKEND_LOCAL;
			break;
		case 'k':
			backend = SCATTO_BACKEND_KERNEL;
			break;
		case '2':
			second = true;
			break;
		case 'h':
			exit(usage(0));
		default:
			exit(usage(2));
		}
	}
	if (argc - optind != (second ? 2 : 0) || batch > capacity)
		exit(usage(2));

	return second ? second_process(argv[optind], argv[optind + 1]) :
			first_process();
}
