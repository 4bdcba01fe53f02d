/*
 * Reads a block device and writes a file past the page cache, in several ways, and prints the time of each:
 * what, bytes a request, requests at once, microseconds a request.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 32
#define SPACE (16 << 20)

struct load {
	int fd, writes, random;
	long size, count;
	atomic_long next;
	pthread_barrier_t ready;
};

/* Memory of each thread, touched before anything is measured. */
static char buffers[MOST][1 << 20] __attribute__((aligned(4096)));

struct worker {
	struct load *load;
	void *buffer;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct load *load = worker->load;
	void *buffer = worker->buffer;
	long places = SPACE / load->size;

	pthread_barrier_wait(&load->ready);
	for (;;) {
		long number = atomic_fetch_add(&load->next, 1);
		/* An odd multiplier reaches every place, and this one goes far from the one before, of 16 too. */
		long place = load->random ? number * 1103515245L % places : number % places;
		off_t offset = place * load->size;
		ssize_t done;

		if (number >= load->count)
			break;
		done = load->writes ? pwrite(load->fd, buffer, load->size, offset)
				    : pread(load->fd, buffer, load->size, offset);
		if (done != load->size)
			fail(load->writes ? "write" : "read");
	}
	return NULL;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

/* Does all of it by so many threads. Returns the microseconds of a request. */
static double measure(struct load *load, int depth)
{
	struct worker workers[MOST];
	pthread_t threads[MOST];
	double begun;
	int i;

	load->next = 0;
	pthread_barrier_init(&load->ready, NULL, depth + 1);
	for (i = 0; i < depth; i++) {
		workers[i] = (struct worker){ load, buffers[i] };
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			fail("thread");
	}
	pthread_barrier_wait(&load->ready);
	begun = now();
	for (i = 0; i < depth; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&load->ready);
	return (now() - begun) / load->count;
}

int main(int argc, char **argv)
{
	static const struct { long size, count; } sizes[] = { { 4096, 2048 }, { 1 << 20, 64 } };
	static const int depths[] = { 1, MOST };
	struct load load = { 0 };
	int fds[2], size, depth;

	/* Whoever waits sees how far it is. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 3)
		return 2;
	fds[0] = open(argv[1], O_RDONLY | O_DIRECT);
	fds[1] = open(argv[2], O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (fds[0] < 0 || fds[1] < 0)
		fail("open");
	if (posix_fallocate(fds[1], 0, SPACE))
		fail("allocate");
	memset(buffers, 0x5a, sizeof(buffers));
	/* The first time a block is written, it is a matter of file system and copy-on-write. */
	load = (struct load){ .fd = fds[1], .writes = 1, .size = 1 << 20, .count = SPACE >> 20 };
	measure(&load, 1);
	for (load.writes = 0; load.writes < 2; load.writes++)
		for (load.random = 0; load.random < 2; load.random++)
			for (size = 0; size < 2; size++)
				for (depth = 0; depth < 2; depth++) {
					load.fd = fds[load.writes];
					load.size = sizes[size].size;
					load.count = sizes[size].count;
					printf("%s %s %ld %d %.3f\n", load.random ? "random" : "sequential",
					       load.writes ? "write" : "read", load.size, depths[depth],
					       measure(&load, depths[depth]));
				}
	return 0;
}
