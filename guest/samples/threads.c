/* POSIX threads and what synchronizes them, as musl makes them of clone and futex. Prints the same natively. */
#define _GNU_SOURCE
#include "threading.h"
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

enum { many = 100, few = 8 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static void *add(void *argument)
{
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return (void *)((uintptr_t)argument * 2);
}

static void hundred(void)
{
	pthread_t threads[many];
	int good = 1;
	for (uintptr_t i = 0; i < many; i++)
		threads[i] = begin(add, (void *)i);
	for (uintptr_t i = 0; i < many; i++)
		good &= joined(threads[i]) == (void *)(i * 2);
	say("a hundred threads and their results", good);
	say("a mutex among a hundred", counter == many * 1000);
	for (uintptr_t i = 0; i < 400; i++)
		good &= joined(begin(add, (void *)i)) == (void *)(i * 2);
	say("four hundred, one behind the other", good && counter == 500 * 1000);
}

static void *number_of_thread(void *argument)
{
	*(pid_t *)argument = own_tid();
	return (void *)(uintptr_t)getpid();
}

static void numbers(void)
{
	pid_t numbers[few];
	pthread_t threads[few];
	int good = 1;
	for (int i = 0; i < few; i++)
		threads[i] = begin(number_of_thread, &numbers[i]);
	for (int i = 0; i < few; i++)
		good &= joined(threads[i]) == (void *)(uintptr_t)getpid() && numbers[i] != getpid() && numbers[i] > 0;
	say("each thread has a number, all the process's", good && own_tid() == getpid());
	rest(1);
	say("a thread that is over has none", syscall(SYS_tgkill, getpid(), numbers[0], 0) == -1 && errno == ESRCH);
}

static void *try_mutex(void *argument)
{
	int answer = pthread_mutex_trylock(argument);
	if (answer == 0)
		pthread_mutex_unlock(argument);
	return (void *)(uintptr_t)answer;
}

static void *try_mutex_for_a_while(void *argument)
{
	struct timespec until = after(CLOCK_REALTIME, 20);
	long long start = now_ns();
	int answer = pthread_mutex_timedlock(argument, &until);
	return (void *)(uintptr_t)(answer == ETIMEDOUT && now_ns() - start >= 19000000);
}

static void mutexes(void)
{
	pthread_mutexattr_t kind;
	pthread_mutexattr_init(&kind);
	pthread_mutex_t recursive, careful;
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&recursive, &kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&careful, &kind);
	int good = pthread_mutex_lock(&recursive) == 0 && pthread_mutex_lock(&recursive) == 0;
	good &= joined(begin(try_mutex, &recursive)) == (void *)EBUSY;
	pthread_mutex_unlock(&recursive);
	good &= joined(begin(try_mutex, &recursive)) == (void *)EBUSY;
	pthread_mutex_unlock(&recursive);
	say("a recursive mutex", good && joined(begin(try_mutex, &recursive)) == 0);
	good = pthread_mutex_lock(&careful) == 0 && pthread_mutex_lock(&careful) == EDEADLK;
	say("a mutex that checks", good && pthread_mutex_unlock(&careful) == 0 && pthread_mutex_unlock(&careful) == EPERM);
	pthread_mutex_lock(&careful);
	say("a mutex that is not to be had in time", joined(begin(try_mutex_for_a_while, &careful)) == (void *)1);
	pthread_mutex_unlock(&careful);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_NORMAL);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutex_t shared;
	pthread_mutex_init(&shared, &kind);
	pthread_mutex_lock(&shared);
	pthread_t waiting = begin(try_mutex_for_a_while, &shared);
	say("a mutex of several processes", joined(waiting) == (void *)1 && pthread_mutex_unlock(&shared) == 0);
}

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn, woken, released;

static void *play(void *argument)
{
	int own = (int)(uintptr_t)argument;
	pthread_mutex_lock(&mutex);
	for (int i = 0; i < 1000; i++) {
		while (turn % 2 != own)
			pthread_cond_wait(&cond, &mutex);
		turn++;
		pthread_cond_signal(&cond);
	}
	pthread_mutex_unlock(&mutex);
	return 0;
}

static void *await_release(void *argument)
{
	pthread_mutex_lock(&mutex);
	while (!released)
		pthread_cond_wait(&cond, &mutex);
	woken++;
	pthread_mutex_unlock(&mutex);
	return argument;
}

static int timed_wait(clockid_t clock)
{
	pthread_condattr_t kind;
	pthread_cond_t timed;
	pthread_condattr_init(&kind);
	pthread_condattr_setclock(&kind, clock);
	pthread_cond_init(&timed, &kind);
	pthread_mutex_lock(&mutex);
	struct timespec until = after(clock, 20), past = after(clock, -20);
	long long start = now_ns();
	int answer = pthread_cond_timedwait(&timed, &mutex, &until);
	int good = answer == ETIMEDOUT && now_ns() - start >= 19000000;
	good &= pthread_cond_timedwait(&timed, &mutex, &past) == ETIMEDOUT;
	pthread_mutex_unlock(&mutex);
	return good;
}

static void conditions(void)
{
	pthread_t first = begin(play, (void *)0), second = begin(play, (void *)1);
	joined(first);
	joined(second);
	say("two threads take turns", turn == 2000);
	pthread_t threads[few];
	for (int i = 0; i < few; i++)
		threads[i] = begin(await_release, 0);
	rest(5);
	pthread_mutex_lock(&mutex);
	released = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < few; i++)
		joined(threads[i]);
	say("a broadcast wakes all", woken == few);
	say("a wait by the clock that stands for itself", timed_wait(CLOCK_MONOTONIC));
	say("a wait by the clock of dates", timed_wait(CLOCK_REALTIME));
}

static pthread_barrier_t barrier;
static int arrived[50], serial;

static void *meet(void *argument)
{
	for (int i = 0; i < 50; i++) {
		__atomic_add_fetch(&arrived[i], 1, __ATOMIC_SEQ_CST);
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			__atomic_add_fetch(&serial, 1, __ATOMIC_SEQ_CST);
		if (arrived[i] != 4)
			return (void *)1;
	}
	return argument;
}

static void barriers(void)
{
	pthread_barrier_init(&barrier, 0, 4);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		threads[i] = begin(meet, 0);
	int good = 1;
	for (int i = 0; i < 4; i++)
		good &= joined(threads[i]) == 0;
	say("a barrier, fifty times", good && serial == 50);
}

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static int pair[2], torn;

static void *read_pair(void *argument)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_rdlock(&lock);
		if (pair[0] != pair[1])
			torn = 1;
		pthread_rwlock_unlock(&lock);
	}
	return argument;
}

static void *write_pair(void *argument)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_wrlock(&lock);
		pair[0]++;
		if (i % 50 == 0)
			sched_yield();
		pair[1]++;
		pthread_rwlock_unlock(&lock);
	}
	return argument;
}

static void *try_lock(void *argument)
{
	struct timespec until = after(CLOCK_REALTIME, 10);
	int *answers = argument;
	answers[0] = pthread_rwlock_tryrdlock(&lock);
	answers[1] = pthread_rwlock_trywrlock(&lock);
	answers[2] = pthread_rwlock_timedwrlock(&lock, &until);
	if (answers[0] == 0)
		pthread_rwlock_unlock(&lock);
	return 0;
}

static void read_write_locks(void)
{
	pthread_t threads[6];
	for (int i = 0; i < 6; i++)
		threads[i] = begin(i % 3 == 0 ? write_pair : read_pair, 0);
	for (int i = 0; i < 6; i++)
		joined(threads[i]);
	say("a lock for readers and writers", !torn && pair[0] == 4000 && pair[1] == 4000);
	int answers[3];
	pthread_rwlock_rdlock(&lock);
	joined(begin(try_lock, answers));
	pthread_rwlock_unlock(&lock);
	say("readers together", answers[0] == 0 && answers[1] == EBUSY && answers[2] == ETIMEDOUT);
	pthread_rwlock_wrlock(&lock);
	joined(begin(try_lock, answers));
	pthread_rwlock_unlock(&lock);
	say("a writer alone", answers[0] == EBUSY && answers[1] == EBUSY && answers[2] == ETIMEDOUT);
}

static sem_t filled, room;
static int ring[16];

static void *produce(void *argument)
{
	for (int i = 1; i <= 5000; i++) {
		sem_wait(&room);
		ring[i % 16] = i;
		sem_post(&filled);
	}
	return argument;
}

static void semaphores(void)
{
	sem_init(&filled, 0, 0);
	sem_init(&room, 0, 16);
	pthread_t producer = begin(produce, 0);
	long sum = 0;
	for (int i = 1; i <= 5000; i++) {
		sem_wait(&filled);
		sum += ring[i % 16] == i;
		sem_post(&room);
	}
	joined(producer);
	say("a ring between two semaphores", sum == 5000);
	struct timespec until = after(CLOCK_REALTIME, 10);
	errno = 0;
	say("a semaphore that is not raised in time", sem_timedwait(&filled, &until) == -1 && errno == ETIMEDOUT);
	errno = 0;
	say("or is not tried long", sem_trywait(&filled) == -1 && errno == EAGAIN);
}

static _Thread_local int own = 7;
static _Thread_local char zero[5000];
static pthread_key_t key;
static int destroyed;

static void destroy(void *value)
{
	__atomic_add_fetch(&destroyed, (int)(uintptr_t)value, __ATOMIC_SEQ_CST);
}

static void *use_own(void *argument)
{
	int good = own == 7 && zero[0] == 0 && zero[4999] == 0 && pthread_getspecific(key) == 0;
	own = (int)(uintptr_t)argument;
	zero[4999] = 1;
	pthread_setspecific(key, argument);
	for (int i = 0; i < 20; i++) {
		sched_yield();
		good &= own == (int)(uintptr_t)argument && pthread_getspecific(key) == argument;
	}
	errno = own;
	sched_yield();
	return (void *)(uintptr_t)(good && errno == own);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int initialized;

static void initialize(void)
{
	rest(2);
	initialized++;
}

static void *initialize_once(void *argument)
{
	pthread_once(&once, initialize);
	return initialized == 1 ? 0 : argument;
}

static void storage(void)
{
	pthread_key_create(&key, destroy);
	pthread_t threads[few];
	int good = 1;
	for (uintptr_t i = 0; i < few; i++)
		threads[i] = begin(use_own, (void *)(i + 1));
	for (int i = 0; i < few; i++)
		good &= joined(threads[i]) == (void *)1;
	say("memory of each thread's own", good && own == 7);
	say("destructors of what was kept by key", destroyed == few * (few + 1) / 2);
	for (int i = 0; i < few; i++)
		threads[i] = begin(initialize_once, (void *)1);
	for (int i = 0; i < few; i++)
		good &= joined(threads[i]) == 0;
	say("what is done once", good && initialized == 1);
}

static sem_t finished;

static void *finish(void *argument)
{
	sem_post(&finished);
	return argument;
}

static void detached(void)
{
	sem_init(&finished, 0, 0);
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 65536);
	int good = 1;
	for (int i = 0; i < 300; i++) {
		pthread_t thread;
		good &= pthread_create(&thread, &attributes, finish, 0) == 0;
		if (i % 20 == 19)
			for (int k = 0; k < 20; k++)
				sem_wait(&finished);
	}
	say("threads that nobody joins", good);
}

int main(void)
{
	hundred();
	numbers();
	mutexes();
	conditions();
	barriers();
	read_write_locks();
	semaphores();
	storage();
	detached();
	return 0;
}
