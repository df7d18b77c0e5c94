// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * scattoctl: channels by name, from the shell. scattoctl(1) describes it.
 *
 * It installs no signal handlers: what a killed endpoint leaves behind is for
 * the module to sort out, and an event is released only after it was written.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <scatto.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define DEVICE		"/dev/scatto"

/* Events that are written, or sent, with one system call at most. */
#define BATCH		1024
#define BATCH_BYTES	(1024 * 1024)

/* Exit status; scattoctl(1) lists them. */
enum {
	DONE		= 0,
	FAILED		= 1,
	USAGE		= 2,
	NO_CHANNEL	= 3,
	NO_PERMISSION	= 4,
	NO_MODULE	= 5,
	STREAM_ENDED		= 6,
};

enum format { HEX, TEXT, RAW };

static enum format format;
static bool json, pausing;
static __u64 count = UINT64_MAX, capacity = 1024;
static uint32_t slot_size = 64, mode = 0600;
static uint32_t kind = SCATTO_KIND_SPSC, producers;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list args;

	fputs("scattoctl: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* Errors: what was wrong, and what can be done */

/* Edit distance of two names. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[SCATTO_NAME_LEN + 1], i, j;
	size_t len = strnlen(b, SCATTO_NAME_LEN);

	for (j = 0; j <= len; j++)
		row[j] = j;
	for (i = 1; a[i - 1]; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= len; j++) {
			unsigned int least = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < least)
				least = row[j] + 1;
			if (row[j - 1] + 1 < least)
				least = row[j - 1] + 1;
			row[j] = least;
		}
	}
	return row[len];
}

static void explain_missing(const char *name)
{
	struct scatto_list entry = { .size = sizeof(entry) };
	unsigned int total = 0, similar = 0;

	for (; !scatto_list(&entry); total++) {
		if (!strstr(entry.name, name) && !strstr(name, entry.name) &&
		    distance(name, entry.name) > 2)
			continue;
		if (similar++ < 5)
			say("did you mean \"%s\"?", entry.name);
	}
	if (!total)
		say("there are no named channels in this user namespace");
	else if (!similar)
		say("\"scattoctl list\" shows the %u there %s", total,
		    total == 1 ? "is" : "are");
}

static bool find(const char *name, struct scatto_list *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->size = sizeof(*entry);
	while (!scatto_list(entry))
		if (!strcmp(entry->name, name))
			return true;
	return false;
}

static const char *user_name(uint32_t uid)
{
	const struct passwd *pw = getpwuid(uid);
	static char number[16];

	snprintf(number, sizeof(number), "%u", uid);
	return pw ? pw->pw_name : number;
}

static const char *group_name(uint32_t gid)
{
	const struct group *gr = getgrgid(gid);
	static char number[16];

	snprintf(number, sizeof(number), "%u", gid);
	return gr ? gr->gr_name : number;
}

static void explain_permission(const char *name, uint32_t role)
{
	struct scatto_list entry;

	if (access(DEVICE, R_OK | W_OK)) {
		say("this user may not open " DEVICE " for reading and writing");
		return;
	}
	if (!find(name, &entry))
		return;
	if (entry.chan_flags & SCATTO_F_KERNEL &&
	    (role == SCATTO_ROLE_PRODUCER || role == SCATTO_ROLE_OWNER)) {
		say("only the kernel sends to it and closes it");
		return;
	}
	say("its mode is %04o, owner %s, group %s; you are %s", entry.mode,
	    user_name(entry.uid), group_name(entry.gid), user_name(geteuid()));
	if (role == SCATTO_ROLE_OWNER)
		say("only its owner may close it");
	else
		say("%s needs the %s bit for you", role == SCATTO_ROLE_PRODUCER ?
		    "sending" : "receiving or looking at it",
		    role == SCATTO_ROLE_PRODUCER ? "write" : "read");
}

/* Says why @doing the channel failed and returns the exit status for it. */
static int explain(const char *doing, const char *name, uint32_t role, int err)
{
	const char *what = strerror(-err);
	int status = FAILED;

	switch (err) {
	case -ENODEV:
		what = "there is no " DEVICE;
		status = NO_MODULE;
		break;
	case -ENOENT:
		what = "no such channel";
		status = NO_CHANNEL;
		break;
	case -EACCES:
	case -EPERM:
		what = "not permitted";
		status = NO_PERMISSION;
		break;
	case -EINVAL:
		if (name)
			what = "not a name: 1 to 63 visible ASCII characters, no '/'";
		break;
	case -EEXIST:
		what = "a channel of this name exists";
		break;
	case -EBUSY:
		what = role == SCATTO_ROLE_PRODUCER ?
		       "it has as many producers as it can have" :
		       "it has a consumer; it can have only one";
		break;
	case -EPIPE:
		what = "the stream has ended";
		status = STREAM_ENDED;
		break;
	case -EFBIG:
		what = "larger than the module permits a channel to be";
		break;
	case -EDQUOT:
		what = "this user has as many channels, or bytes in them, as the module permits";
		break;
	case -EBADMSG:
		what = "the other side has put impossible positions into it";
		break;
	}
	if (name)
		say("cannot %s \"%s\": %s", doing, name, what);
	else
		say("cannot %s: %s", doing, what);

	if (err == -ENODEV)
		say("load the module: modprobe scatto, or insmod scatto.ko where it was built");
	else if (err == -ENOENT && name)
		explain_missing(name);
	else if (status == NO_PERMISSION && name)
		explain_permission(name, role);
	else if (err == -EFBIG || err == -EDQUOT)
		say("the limits are in /sys/module/scatto/parameters");
	return status;
}

static int explain_output(void)
{
	say("cannot write: %s", strerror(errno));
	return FAILED;
}

/* Output */

/* Of the limits and flags that a channel has, in words. */
static const char *kind_name(uint32_t kind)
{
	switch (kind) {
	case SCATTO_KIND_SPSC:
		return "spsc";
	case SCATTO_KIND_MPSC:
		return "mpsc";
	default:
		return "?";
	}
}

static const char *flag_names(uint32_t flags)
{
	static char buf[32];

	snprintf(buf, sizeof(buf), "%s%s%s%s",
		 flags & SCATTO_F_KERNEL ? ",kernel" : "",
		 flags & SCATTO_F_SHARED ? ",shared" : "",
		 flags & SCATTO_F_PAUSE ? ",pause" : "",
		 flags & SCATTO_F_FENCE ? ",fence" : "");
	return buf[0] ? buf + 1 : "-";
}

/* Exact where that is short: 64, 4K, 1.5M. */
static const char *human(__u64 n)
{
	static char buf[4][16];
	static unsigned int turn;
	char *to = buf[turn++ % ARRAY_SIZE(buf)];
	const char *unit = "";
	double value = (double)n;

	for (; value >= 1024 && *unit != 'G'; value /= 1024)
		unit = !*unit ? "K" : *unit == 'K' ? "M" : "G";
	snprintf(to, sizeof(buf[0]), value == (double)(__u64)value ?
		 "%.0f%s" : "%.1f%s", value, unit);
	return to;
}

/* A name is printable ASCII, so these are all that need it. */
static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

static void json_flags(uint32_t flags)
{
	const char *comma = "";

	printf("\"flags\": [");
	for (unsigned int i = 0; i < 32; i++) {
		if (!(flags & 1U << i))
			continue;
		printf("%s\"%s\"", comma, flag_names(1U << i));
		comma = ", ";
	}
	putchar(']');
}

/* list */

static void list_json(const struct scatto_list *e, bool first)
{
	printf("%s\n  {\"name\": ", first ? "" : ",");
	json_string(e->name);
	printf(", \"id\": %llu, \"kind\": \"%s\", ", e->id,
	       kind_name(e->kind));
	printf("\"slot_size\": %u, \"capacity\": %llu, ", e->slot_size,
	       e->capacity);
	printf("\"mode\": \"%04o\", \"uid\": %u, \"gid\": %u, ", e->mode,
	       e->uid, e->gid);
	json_flags(e->chan_flags);
	putchar('}');
}

static void list_line(const struct scatto_list *e, bool first)
{
	if (first)
		printf("%-24s %6s %-4s %6s %8s %4s %-12s %-12s %s\n", "NAME",
		       "ID", "KIND", "SLOT", "CAPACITY", "MODE", "OWNER",
		       "GROUP", "FLAGS");
	printf("%-24s %6llu %-4s %6s %8s %04o %-12s %-12s %s\n", e->name,
	       e->id, kind_name(e->kind), human(e->slot_size),
	       human(e->capacity), e->mode, user_name(e->uid),
	       group_name(e->gid), flag_names(e->chan_flags));
}

static int cmd_list(char **args)
{
	struct scatto_list entry = { .size = sizeof(entry) };
	bool first = true;
	int ret;

	(void)args;
	for (;; first = false) {
		ret = scatto_list(&entry);
		if (ret)
			break;
		if (json) {
			if (first)
				putchar('[');
			list_json(&entry, first);
		} else {
			list_line(&entry, first);
		}
	}
	if (ret != -ENOENT)
		return explain("list channels", NULL, 0, ret);
	if (json)
		puts(first ? "[]" : "\n]");
	else if (first)
		say("there are no named channels in this user namespace");
	return DONE;
}

/* show */

static const char *state_name(const struct scatto_info *info)
{
	if (info->state & SCATTO_STATE_CLOSED)
		return "closed";
	if (info->state & SCATTO_STATE_NO_CONSUMER)
		return "the consumer has gone";
	if (info->state & SCATTO_STATE_NO_PRODUCER)
		return info->layout.kind == SCATTO_KIND_MPSC ?
		       "the producers have gone" : "the producer has gone";
	return "open";
}

static void show_row(const char *what, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void show_row(const char *what, const char *fmt, ...)
{
	va_list args;

	printf("%-12s ", what);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

static void show_number(const char *what, __u64 n)
{
	show_row(what, "%llu", n);
}

/* What only many producers have. @published: in a row from what is consumed. */
static void show_many(const struct scatto_info *info, __u64 published)
{
	show_number("claimed", info->published);
	show_number("published", published);
	show_row("blocked", "%u claims, %llu granted so far", info->claimers,
		 info->claims);
	show_row("repairs", "%llu, %s", info->repairs,
		 info->repair_to ? "and at it" : "all done");
	if (info->repair_to)
		show_row("undecided", "from event %llu to below %llu",
			 info->repair_from, info->repair_to);
}

static void show_table(const struct scatto_info *info, __u64 published)
{
	__u64 waiting = info->published - info->consumed;
	__u64 percent = waiting * 100 / info->layout.capacity;
	const struct scatto_layout *l = &info->layout;

	show_row("name", "%s", info->name);
	show_number("id", info->id);
	show_row("kind", "%s, flags %s", kind_name(l->kind),
		 flag_names(l->flags));
	show_row("slots", "%llu of %s bytes, %s bytes in all",
		 l->capacity, human(l->slot_size), human(info->bytes));
	show_row("mode", "%04o, owner %s, group %s", info->mode,
		 user_name(info->uid), group_name(info->gid));
	show_row("state", "%s", state_name(info));
	if (info->end != SCATTO_END_OPEN)
		show_row("end", "after %llu events", info->end);
	if (l->flags & SCATTO_F_KERNEL)
		show_row("producers", "the kernel");
	else
		show_row("producers", "%u of %u%s", info->producers,
			 l->max_producers, l->flags & SCATTO_F_SHARED ?
			 ", and the kernel" : "");
	show_number("consumers", info->consumers);
	show_row("observers", "%u, owners and this command included",
		 info->observers);
	if (l->intent_offset)
		show_many(info, published);
	else
		show_number("published", info->published);
	show_number("consumed", info->consumed);
	if (waiting <= l->capacity)
		show_row("waiting", "%llu, %llu%% full", waiting, percent);
	else
		show_row("waiting", "? (a position is impossible)");
	show_number("lost", info->dropped);
	show_row("tombstones", "%llu by the kernel, %llu skipped",
		 info->tombstones, info->skipped);
	show_row("data", "%llu sleeps, %llu wakes",
		 info->data_sleeps, info->data_wakes);
	show_row("space", "%llu sleeps, %llu wakes",
		 info->space_sleeps, info->space_wakes);
}

static void show_json(const struct scatto_info *info, __u64 published)
{
	const struct {
		const char *name;
		__u64 value;
	} numbers[] = {
		{ "id", info->id },
		{ "slot_size", info->layout.slot_size },
		{ "slot_stride", info->layout.slot_stride },
		{ "capacity", info->layout.capacity },
		{ "bytes", info->bytes },
		{ "uid", info->uid },
		{ "gid", info->gid },
		{ "producers", info->producers },
		{ "max_producers", info->layout.max_producers },
		{ "consumers", info->consumers },
		{ "observers", info->observers },
		{ "claimed", info->published },
		{ "published", published },
		{ "consumed", info->consumed },
		{ "dropped", info->dropped },
		{ "tombstones", info->tombstones },
		{ "skipped", info->skipped },
		{ "repairs", info->repairs },
		{ "repair_from", info->repair_from },
		{ "repair_to", info->repair_to },
		{ "claims", info->claims },
		{ "claimers", info->claimers },
		{ "data_sleeps", info->data_sleeps },
		{ "data_wakes", info->data_wakes },
		{ "space_sleeps", info->space_sleeps },
		{ "space_wakes", info->space_wakes },
	};

	printf("{\n  \"name\": ");
	json_string(info->name);
	printf(",\n  \"kind\": \"%s\",\n  ", kind_name(info->layout.kind));
	json_flags(info->layout.flags);
	printf(",\n  \"mode\": \"%04o\",\n  \"state\": %u,\n", info->mode,
	       info->state);
	if (info->end == SCATTO_END_OPEN)
		printf("  \"end\": null");
	else
		printf("  \"end\": %llu", info->end);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		printf(",\n  \"%s\": %llu", numbers[i].name,
		       numbers[i].value);
	printf("\n}\n");
}

static int cmd_show(char **args)
{
	struct scatto_info info = { .size = sizeof(info) };
	struct scatto_observer *o;
	uint64_t published = 0, consumed;
	int ret = scatto_observer_open(args[0], &o);

	if (!ret) {
		ret = scatto_observer_info(o, &info);
		/* Where a position is impossible it says just that. */
		if (info.layout.kind == SCATTO_KIND_SPSC ||
		    scatto_observer_positions(o, &published, &consumed))
			published = info.published;
		scatto_observer_close(o);
	}
	if (ret)
		return explain("look at", args[0], SCATTO_ROLE_OBSERVER, ret);
	if (json)
		show_json(&info, published);
	else
		show_table(&info, published);
	return DONE;
}

/* recv */

static void write_hex(const unsigned char *ev, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	for (; size; size--, ev++) {
		putchar_unlocked(digits[*ev >> 4]);
		putchar_unlocked(digits[*ev & 15]);
	}
	putchar_unlocked('\n');
}

/*
 * Up to the first zero byte. What could be a command for the terminal, and the
 * backslash, are written as \xHH.
 */
static void write_text(const unsigned char *ev, size_t size)
{
	for (; size && *ev; size--, ev++) {
		if ((isprint(*ev) && *ev != '\\') || *ev == '\t')
			putchar_unlocked(*ev);
		else
			printf("\\x%02x", *ev);
	}
	putchar_unlocked('\n');
}

static void write_event(const void *ev, size_t size)
{
	switch (format) {
	case HEX:
		write_hex(ev, size);
		break;
	case TEXT:
		write_text(ev, size);
		break;
	case RAW:
		fwrite(ev, size, 1, stdout);
		break;
	}
}

/* What has not come before the event that comes next. */
static void tell_gaps(const struct scatto_consumer *c)
{
	static __u64 told;
	__u64 lost = scatto_lost(c), empty = scatto_tombstones(c) - told;
	__u64 seq = scatto_consumer_position(c);

	told += empty;
	if (lost)
		say("lost %llu before event %llu", lost, seq);
	if (empty)
		say("skipped %llu without content before event %llu",
		    empty, seq);
}

/* Behind the last event there is none that could tell what was lost. */
static void tell_end(const struct scatto_consumer *c, __u64 dropped)
{
	struct scatto_info info = { .size = sizeof(info) };

	if (scatto_consumer_info(c, &info))
		return;
	dropped = info.dropped - dropped - scatto_lost_total(c);
	if ((int64_t)dropped > 0)
		say("lost %llu after the last event", dropped);
}

/*
 * Waits for an event, or until nobody reads what is written: without events
 * there would be no write to find that out.
 */
static bool wait_event(const struct scatto_consumer *c)
{
	struct pollfd fds[] = {
		{ .fd = scatto_consumer_fd(c), .events = POLLIN },
		{ .fd = STDOUT_FILENO },
	};

	poll(fds, ARRAY_SIZE(fds), -1);
	return !fds[1].revents;
}

static int receive(struct scatto_consumer *c, __u64 dropped)
{
	uint32_t size = scatto_consumer_slot_size(c);

	while (count) {
		int i, n = scatto_peek(c, count < BATCH ? (uint32_t)count : BATCH);

		if (n == -EAGAIN) {
			if (wait_event(c))
				continue;
			return 0;
		}
		if (n < 0) {
			if (n == -EPIPE)
				tell_end(c, dropped);
			return n;
		}
		tell_gaps(c);
		for (i = 0; i < n; i++)
			write_event(scatto_peek_slot(c, i), size);
		if (fflush(stdout))
			return -EIO;
		scatto_release(c, n);
		count -= n;
	}
	return 0;
}

static int cmd_recv(char **args)
{
	bool all = count == UINT64_MAX;
	struct scatto_info info = { .size = sizeof(info) };
	struct scatto_consumer *c;
	int ret;

	ret = scatto_consumer_open(args[0], &c);
	if (ret)
		return explain("receive from", args[0], SCATTO_ROLE_CONSUMER,
			       ret);
	ret = scatto_consumer_info(c, &info);
	if (!ret)
		ret = receive(c, info.dropped);
	scatto_consumer_close(c);

	if (!ret || (ret == -EPIPE && all))
		return DONE;
	if (ret == -EPIPE) {
		say("the stream of \"%s\" has ended %llu events early",
		    args[0], count);
		return STREAM_ENDED;
	}
	if (ret == -EIO)
		return explain_output();
	return explain("receive from", args[0], SCATTO_ROLE_CONSUMER, ret);
}

/* send */

/* Sends the events that fill @buf, and says why when it cannot. */
static int send_events(struct scatto_producer *p, const char *name,
		       const void *buf, uint32_t n)
{
	int ret = scatto_send_batch(p, buf, n);

	if (ret == (int)n)
		return DONE;
	/* Fewer: the next one has the reason. */
	if (ret >= 0)
		ret = scatto_send(p, (const char *)buf + (size_t)ret *
				  scatto_producer_slot_size(p));
	if (ret == -EPIPE) {
		say("nobody receives from \"%s\" any more", name);
		return STREAM_ENDED;
	}
	return explain("send to", name, SCATTO_ROLE_PRODUCER, ret);
}

/* Whole events as they come; what read() gives at once is sent at once. */
static int send_raw(struct scatto_producer *p, const char *name)
{
	uint32_t size = scatto_producer_slot_size(p);
	uint32_t room = BATCH_BYTES / size * size;
	char *buf = malloc(room);
	uint32_t have = 0, whole;
	int status = DONE;
	ssize_t n;

	if (!buf) {
		say("no memory");
		return FAILED;
	}
	while (status == DONE) {
		n = read(STDIN_FILENO, buf + have, room - have);
		if (n < 0) {
			say("cannot read: %s", strerror(errno));
			status = FAILED;
		}
		if (n <= 0)
			break;
		have += n;
		whole = have / size * size;
		if (!whole)
			continue;
		status = send_events(p, name, buf, whole / size);
		have -= whole;
		memmove(buf, buf + whole, have);
	}
	if (status == DONE && have) {
		say("the input ends within an event: %u bytes of %u were not sent",
		    have, size);
		status = FAILED;
	}
	free(buf);
	return status;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = tolower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. Returns the number of bytes, or -1. */
static ssize_t parse_hex(char *line, ssize_t len)
{
	char *from = line, *end = line + len, *to = line;

	for (;;) {
		int high, low;

		while (from < end && isspace((unsigned char)*from))
			from++;
		if (from == end)
			return to - line;
		high = hex_digit(*from++);
		low = from < end ? hex_digit(*from++) : -1;
		if (high < 0 || low < 0)
			return -1;
		*to++ = high << 4 | low;
	}
}

static int send_lines(struct scatto_producer *p, const char *name)
{
	uint32_t size = scatto_producer_slot_size(p);
	size_t alloc = 0;
	__u64 number = 0;
	char *line = NULL, *ev = malloc(size);
	int status = ev ? DONE : FAILED;
	ssize_t len;

	while (status == DONE && (len = getline(&line, &alloc, stdin)) >= 0) {
		number++;
		if (len && line[len - 1] == '\n')
			len--;
		if (format == HEX)
			len = parse_hex(line, len);
		if (len < 0) {
			say("line %llu is not hexadecimal", number);
			say("--text sends lines as they are, --raw bytes");
			status = FAILED;
		} else if ((size_t)len > size) {
			say("line %llu has %zd bytes, an event of \"%s\" only %u",
			    number, len, name, size);
			status = FAILED;
		} else {
			memcpy(ev, line, len);
			memset(ev + len, 0, size - len);
			status = send_events(p, name, ev, 1);
		}
	}
	if (status == DONE && ferror(stdin)) {
		say("cannot read: %s", strerror(errno));
		status = FAILED;
	}
	free(line);
	free(ev);
	return status;
}

static int cmd_send(char **args)
{
	struct scatto_producer *p;
	int status, ret;

	ret = scatto_producer_open(args[0], &p);
	if (ret)
		return explain("send to", args[0], SCATTO_ROLE_PRODUCER, ret);
	status = format == RAW ? send_raw(p, args[0]) : send_lines(p, args[0]);
	scatto_producer_close(p);
	return status;
}

/* create */

static int run_command(char **command)
{
	int wstatus;
	pid_t pid;

	fflush(NULL);
	/* As a shell does: these are meant for the command. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	pid = fork();
	if (pid < 0) {
		say("cannot fork: %s", strerror(errno));
		return FAILED;
	}
	if (!pid) {
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		execvp(command[0], command);
		say("cannot run %s: %s", command[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	while (waitpid(pid, &wstatus, 0) < 0)
		;
	return WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) :
				      WEXITSTATUS(wstatus);
}

/*
 * Until nobody can use the channel any more. An owner's POLLHUP is there from
 * the end of the stream on, while a consumer may still be to come: hence
 * edge-triggered, which reports each arrival and departure from then on.
 */
static int hold(struct scatto_channel *ch, const char *name)
{
	struct scatto_info info = { .size = sizeof(info) };
	struct epoll_event ev = { .events = EPOLLET };
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0 ||
	    epoll_ctl(fd, EPOLL_CTL_ADD, scatto_channel_fd(ch), &ev) < 0) {
		say("cannot wait for events: %s", strerror(errno));
		return FAILED;
	}
	say("\"%s\" is there until this command ends", name);
	for (;;) {
		int ret = scatto_channel_info(ch, &info);

		if (ret)
			return explain("hold", name, SCATTO_ROLE_OWNER, ret);
		if (info.state & SCATTO_STATE_SEND_EPIPE)
			return DONE;
		epoll_wait(fd, &ev, 1, -1);
	}
}

static bool create_possible(const char *name)
{
	size_t len = strlen(name), i;
	bool good = len && len < SCATTO_NAME_LEN;

	for (i = 0; i < len; i++)
		good &= name[i] > ' ' && name[i] <= '~' && name[i] != '/';
	if (!good)
		explain("create", name, 0, -EINVAL);
	if (slot_size < SCATTO_MIN_SLOT_SIZE || slot_size > SCATTO_MAX_SLOT_SIZE) {
		say("a slot has %u to %u bytes, not %u", SCATTO_MIN_SLOT_SIZE,
		    SCATTO_MAX_SLOT_SIZE, slot_size);
		good = false;
	}
	if (capacity < SCATTO_MIN_CAPACITY || capacity > SCATTO_MAX_CAPACITY ||
	    capacity & (capacity - 1)) {
		say("a capacity is a power of two from %u to %u, not %llu",
		    SCATTO_MIN_CAPACITY, SCATTO_MAX_CAPACITY, capacity);
		good = false;
	}
	if (producers > (kind == SCATTO_KIND_MPSC ? SCATTO_MAX_PRODUCERS : 1)) {
		if (kind == SCATTO_KIND_MPSC)
			say("a channel has up to %u producers, not %u",
			    SCATTO_MAX_PRODUCERS, producers);
		else
			say("several producers need --kind mpsc");
		good = false;
	}
	if (mode & ~0666U) {
		say("a mode has read and write bits only, not %04o", mode);
		good = false;
	}
	return good;
}

static int cmd_create(char **args)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg),
		.backend = SCATTO_BACKEND_KERNEL,
		.kind = kind,
		.slot_size = slot_size,
		.capacity = capacity,
		.flags = pausing ? SCATTO_F_PAUSE : 0,
		.mode = mode,
		.name = args[0],
		.max_producers = producers,
	};
	struct scatto_channel *ch;
	int ret;

	if (!create_possible(args[0]))
		return USAGE;
	ret = scatto_channel_create(&cfg, &ch);
	if (ret)
		return explain("create", args[0], SCATTO_ROLE_OWNER, ret);
	ret = args[1] ? run_command(args + 1) : hold(ch, args[0]);
	scatto_channel_free(ch);
	return ret;
}

/* close */

static int cmd_close(char **args)
{
	struct scatto_channel *ch;
	int ret = scatto_channel_open(args[0], &ch);

	if (!ret) {
		ret = scatto_channel_close(ch);
		scatto_channel_free(ch);
	}
	return ret ? explain("close", args[0], SCATTO_ROLE_OWNER, ret) : DONE;
}

/* The command line */

enum { CMD_LIST, CMD_SHOW, CMD_RECV, CMD_SEND, CMD_CREATE, CMD_CLOSE };

static const struct command {
	const char *name;
	const char *options;	/* letters of those that make sense */
	int min_args, max_args;
	int (*run)(char **args);
} commands[] = {
	[CMD_LIST]	= { "list", "j", 0, 0, cmd_list },
	[CMD_SHOW]	= { "show", "j", 1, 1, cmd_show },
	[CMD_RECV]	= { "recv", "nxtr", 1, 1, cmd_recv },
	[CMD_SEND]	= { "send", "xtr", 1, 1, cmd_send },
	[CMD_CREATE]	= { "create", "sckPpm", 1, INT32_MAX, cmd_create },
	[CMD_CLOSE]	= { "close", "", 1, 1, cmd_close },
};

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "count", required_argument, NULL, 'n' },
	{ "hex", no_argument, NULL, 'x' },
	{ "text", no_argument, NULL, 't' },
	{ "raw", no_argument, NULL, 'r' },
	{ "slot-size", required_argument, NULL, 's' },
	{ "capacity", required_argument, NULL, 'c' },
	{ "kind", required_argument, NULL, 'k' },
	{ "producers", required_argument, NULL, 'P' },
	{ "pause", no_argument, NULL, 'p' },
	{ "mode", required_argument, NULL, 'm' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: scattoctl list [--json]\n"
		"       scattoctl show [--json] NAME\n"
		"       scattoctl recv [-n N] [--hex|--text|--raw] NAME\n"
		"       scattoctl send [--hex|--text|--raw] NAME\n"
		"       scattoctl create [-s BYTES] [-c SLOTS] [-k KIND] [-P N] [-p] [-m MODE] NAME\n"
		"                        [-- COMMAND...]\n"
		"       scattoctl close NAME\n"
		"\n"
		"  -n, --count N          receive N events, then stop\n"
		"  -x, --hex              a line of hexadecimal bytes for an event (the default)\n"
		"  -t, --text             a line of text for an event\n"
		"  -r, --raw              the bytes of the events and nothing else\n"
		"  -s, --slot-size BYTES  of an event (default 64)\n"
		"  -c, --capacity SLOTS   events that fit, a power of two (default 1024)\n"
		"  -k, --kind KIND        spsc: one producer (the default), mpsc: many\n"
		"  -P, --producers N      how many at a time (default 64)\n"
		"  -p, --pause            keep the stream while nobody sends or receives\n"
		"  -m, --mode MODE        octal; read: who may receive, write: send (default 0600)\n"
		"  -j, --json             for programs\n"
		"  -V, --version\n"
		"  -h, --help\n"
		"\n"
		"A created channel lives as long as \"create\" runs, or COMMAND if there is one.\n");
}

static void __attribute__((noreturn)) misused(void)
{
	say("\"scattoctl --help\" shows how");
	exit(USAGE);
}

/* A number with K or M for 2^10 or 2^20. */
static __u64 parse_number(const char *text, const char *what, __u64 max)
{
	__u64 unit = 1, value;
	char *rest;

	errno = 0;
	value = strtoull(text, &rest, 10);
	if (*rest == 'k' || *rest == 'K')
		unit = 1 << 10;
	else if (*rest == 'M')
		unit = 1 << 20;
	if (errno || !isdigit((unsigned char)*text) || rest[unit != 1] ||
	    !value || value > max / unit) {
		say("%s: \"%s\" is not a number from 1 to %llu", what, text,
		    max);
		misused();
	}
	return value * unit;
}

static uint32_t parse_mode(const char *text)
{
	char *rest;
	unsigned long value = strtoul(text, &rest, 8);

	if (rest == text || *rest || value > 07777) {
		say("--mode: \"%s\" is not an octal number", text);
		misused();
	}
	return (uint32_t)value;
}

static uint32_t parse_kind(const char *text)
{
	for (uint32_t k = SCATTO_KIND_SPSC; k <= SCATTO_KIND_MPSC; k++)
		if (!strcmp(text, kind_name(k)))
			return k;
	say("--kind: \"%s\" is neither spsc nor mpsc", text);
	misused();
}

static void parse_option(int opt)
{
	switch (opt) {
	case 'j':
		json = true;
		break;
	case 'n':
		count = parse_number(optarg, "--count", UINT64_MAX - 1);
		break;
	case 'x':
		format = HEX;
		break;
	case 't':
		format = TEXT;
		break;
	case 'r':
		format = RAW;
		break;
	case 's':
		slot_size = (uint32_t)parse_number(optarg, "--slot-size",
						   UINT32_MAX);
		break;
	case 'c':
		capacity = parse_number(optarg, "--capacity", UINT64_MAX);
		break;
	case 'k':
		kind = parse_kind(optarg);
		break;
	case 'P':
		producers = (uint32_t)parse_number(optarg, "--producers",
						   UINT32_MAX);
		break;
	case 'p':
		pausing = true;
		break;
	case 'm':
		mode = parse_mode(optarg);
		break;
	case 'V':
		printf("scattoctl %s\n", scatto_version());
		exit(DONE);
	case 'h':
		usage(stdout);
		exit(DONE);
	default:
		misused();
	}
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	say("there is no command \"%s\"", name);
	misused();
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	char given[ARRAY_SIZE(options)] = "";
	size_t nr_given = 0;
	int opt, args, status;

	while ((opt = getopt_long(argc, argv, "jn:xtrs:c:k:P:pm:Vh", options,
				  NULL)) != -1) {
		parse_option(opt);
		if (!strchr(given, opt))
			given[nr_given++] = opt;
	}
	if (optind == argc) {
		usage(stderr);
		return USAGE;
	}
	cmd = find_command(argv[optind++]);
	for (size_t i = 0; i < nr_given; i++) {
		if (!strchr(cmd->options, given[i])) {
			say("\"%s\" has no option -%c", cmd->name, given[i]);
			misused();
		}
	}
	args = argc - optind;
	if (args < cmd->min_args || args > cmd->max_args) {
		say(args < cmd->min_args ? "\"%s\" needs the name of a channel" :
		    "\"%s\" has too many arguments", cmd->name);
		misused();
	}

	status = cmd->run(argv + optind);
	if (fflush(stdout) && status == DONE)
		return explain_output();
	return status;
}
