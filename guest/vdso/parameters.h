/*
 * The page of parameters that the vDSO reads: one page, read-only for the guest, right before the vDSO's first page.
 *
 * Written by the virtual machine monitor only (core/vdso_parameters.zig is the same structure there, with its size and
 * offsets checked against these). Time is a linear function of the time-stamp counter:
 *
 *     clock(t) = base of the clock + ((t - tsc_base) * multiplier >> shift), in nanoseconds
 *
 * with a 128-bit product, so that it neither overflows nor loses precision however long a machine runs.
 */
#ifndef PRISTINE_VDSO_PARAMETERS_H
#define PRISTINE_VDSO_PARAMETERS_H

/* Flag: the clock fields hold. Without it every clock read is a system call. */
#define PRISTINE_VDSO_CLOCKS 1u
/* Flag: `cpu` and `node` hold. */
#define PRISTINE_VDSO_CPU 2u

struct pristine_vdso_parameters {
	unsigned int sequence;              /* odd while the rest is being written; changes with every writing */
	unsigned int flags;
	unsigned long tsc_base;
	unsigned long multiplier;
	unsigned int shift;                 /* 0 to 63 */
	unsigned int cpu;
	unsigned int node;
	unsigned int coarse_resolution_ns;  /* what clock_getres says of the *_COARSE clocks; they are read as exactly as the others */
	long realtime_ns;                   /* each clock at tsc_base */
	long monotonic_ns;
	long monotonic_raw_ns;
	long boottime_ns;
	long tai_ns;
	unsigned long generation;           /* changes at every fork, reset and resume */
};

_Static_assert(sizeof(struct pristine_vdso_parameters) == 88, "the monitor writes 88 bytes");

#endif
