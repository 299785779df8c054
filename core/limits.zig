//! Every limit of the core, in one place, each with its unit in its name and its reason.
const std = @import("std");

pub const KiB = 1024;
pub const MiB = 1024 * KiB;
pub const GiB = 1024 * MiB;
pub const TiB = 1024 * GiB;

pub const page_size = 4096;
/// The guest-virtual window that one page table covers, and the unit in which guest-physical space is handed out.
pub const window_size = 2 * MiB;
pub const window_pages = window_size / page_size;

/// Default ceiling of a machine's memory, and the bounds of what may be asked for.
pub const memory_default_bytes = 512 * MiB;
pub const memory_min_bytes = 256 * KiB;
pub const memory_max_bytes = 1 * TiB;
/// Guest-physical space is given out in whole windows, so it needs more room than the committed pages it holds.
pub const physical_space_factor = 8;
pub const physical_space_min_bytes = 256 * MiB;
/// Guest-physical width every supported platform offers (QEMU's `-cpu max` and AMD-V report 40 bits).
pub const physical_space_max_bytes = 256 * GiB;
/// The same for a remote machine, all of whose frames lie in a range of its own.
pub const remote_physical_bytes = 32 * GiB;
/// Functions of remotes that one machine may have asked for, each with a stub of its own.
pub const imports_max = 240;
/// Functions that one remote may offer.
pub const exports_max = 1024;
/// The name of a remote, a colon and the name of its function.
pub const remote_name_max_bytes = 128;
/// Remotes that one machine is connected to.
pub const connections_max = 64;
/// Sets of remotes that one machine has seen together, each with a root table of its own.
pub const remote_roots_max = 32;
/// How long the embedder's thread waits for its turn to look at a remote.
pub const remote_turn_ns = 1 * std.time.ns_per_s;
/// The most memory that a remote may have: its frames lie in twice as much.
pub const remote_memory_max_bytes = 16 * GiB;
/// A function of a remote that took so long the last time is not called on the embedder's own thread.
pub const remote_quick_ns = 2 * std.time.ns_per_ms;
/// How often a machine that waits for a remote looks whether it is still to wait.
pub const remote_look_ns = 20 * std.time.ns_per_ms;
/// The first memory slot; each further slot doubles what is registered. Slot size costs 2.6 KiB per MiB on shadow paging.
pub const slot_first_bytes = 64 * MiB;

/// Memory slots of one VM; every KVM offers more.
pub const vm_slots_max = 256;
/// VMs kept for the next machine; each costs about 0.3 MiB of kernel memory and a little at every change of mappings.
pub const spare_vms_max = 2;
/// Worker processes of one embedder: what a handle, which is never negative, has room for above the bits of the machine.
pub const workers_max = 127;
pub const worker_handle_bits = 24;
/// Machines of one worker process; each has a page that it shares with the embedder.
pub const worker_machines_max = 256;
/// What passes between an embedder and a worker in one call.
pub const worker_payload_bytes = 2 * MiB;
/// Descriptors that pass in one call (Linux's SCM_MAX_FD).
pub const worker_descriptors_max = 253;
/// How often a side that waits looks whether the other one is still there.
pub const worker_look_ns = 100 * std.time.ns_per_ms;
/// A worker that does not answer for so long is ended.
pub const worker_answer_ns = 60 * std.time.ns_per_s;
/// How long an answer is awaited without sleeping: most come at once.
pub const worker_spin_ns = 20 * std.time.ns_per_us;
/// Machines of one process that have a VM at the same time, unless more run at once: each adds 0.2 to 0.3 µs to every
/// change of mappings in the process, JavaScript's garbage collection included.
pub const vms_max = 16;

/// Ranges of a fork's memory that are not the image's but anonymous; each is a host mapping.
pub const anonymous_ranges_max = 64;
/// An image's area of zeros gets anonymous memory in forks when it has so many pages: reading a hole of a memfd gives it
/// memory for good.
pub const anonymous_hole_min_pages = 64;
/// A private page that resets found unchanged so often in a row is given back.
pub const idle_resets_max = 16;
/// Every so many resets the touched set is compared with the host's page tables.
pub const resets_per_audit = 256;
/// Resets in a row that would have been cheaper as full ones before one is.
pub const oversized_resets = 8;
/// With fewer private pages than these, a full reset and the faults behind it are never cheaper than comparing them.
pub const full_reset_min_pages = 256;
/// Ranges taken out of an image that a rewriting reset puts back; with more it is a full one.
pub const remapped_ranges_max = 16;
/// Pages whose private copies a new fork gets at once.
pub const write_set_max_pages = 4096;
/// Page tables that a fork makes beyond the image's and keeps over resets; with more, the next reset gives the VM back.
pub const fork_tables_max = 512;

/// Runs of frames of one machine that show a file of the host; each is a host mapping, of which a process has 65530 in all.
/// Beyond them files are copied, and no more are shared.
pub const file_pieces_max = 2048;
/// So many may they become by being taken apart; a machine that does more of that is ended.
pub const file_pieces_split_max = 2 * file_pieces_max;
/// Different files that one machine has mapped; each is a host descriptor, also when the guest has closed it.
pub const mapped_files_max = 4096;
/// Pages of a file that a fork copies at once where one of them is touched.
pub const file_copy_pages = 64;

/// Linux's default vm.max_map_count.
pub const mappings_max = 65530;
/// Lowest address a program may map, as Linux's vm.mmap_min_addr.
pub const mmap_min_address = 0x10000;
pub const stack_default_bytes = 8 * MiB;
/// Linux's limits on one argument or environment string (MAX_ARG_STRLEN) and on all of them (a quarter of the stack).
pub const argument_max_bytes = 128 * KiB;
pub const arguments_total_max_bytes = stack_default_bytes / 4;
pub const path_max_bytes = 4096;
/// Open files of one guest, whatever it sets RLIMIT_NOFILE to.
pub const descriptors_max = 4096;
/// Pipes of one guest; each has a buffer of 64 KiB on the host.
pub const pipes_max = 256;
/// Watches of all epoll sets of one guest: what one look at a set may have to go through.
pub const epoll_watches_max = 64 * 1024;
/// Sockets of one machine, those that wait for accept included; as many may be the host's, each a host descriptor.
pub const sockets_max = 2048;
/// What one socket holds of received bytes unless its program sets SO_RCVBUF, and what all of a machine hold.
pub const socket_buffer_default_bytes = 208 * KiB;
/// One message, or one piece of a stream, in a saved snapshot.
pub const socket_piece_max_bytes = 2 * socket_buffer_default_bytes;
pub const socket_buffers_max_bytes = 64 * MiB;
/// Linux's net.core.somaxconn.
pub const listen_backlog_max = 4096;
/// Open files that are on their way between sockets of one machine, and those of one message (SCM_MAX_FD).
pub const rights_in_flight_max = 1024;
pub const rights_per_message_max = 253;
/// Datagrams of the host from where a client may not hear that are thrown away in one call.
pub const datagrams_refused_max = 64;
/// Private files of one machine: bytes of content in whole pages, nodes and names (which a fork copies when it first changes
/// one of them; a node may have several names, and what is taken away from the host in a layer is a name without a node), and
/// files with content, each of which is a host descriptor.
pub const private_bytes_max = 64 * MiB;
pub const private_nodes_max = 16 * 1024;
pub const private_names_max = 32 * 1024;
pub const private_descriptors_max = 1024;
/// Folders of the host over which a machine has a layer of its own; each is looked for in every path.
pub const layers_max = 16;
/// Real-time signals of one guest that wait in order, whatever it sets RLIMIT_SIGPENDING to; POSIX asks for 32.
pub const signals_queued_max = 64;
/// Threads of one guest; each costs some 12 KiB on the host. Beyond them clone answers EAGAIN.
pub const threads_max = 512;
/// As Linux's kernel.pid_max: thread ids begin again at the first one.
pub const thread_id_max = 32768;
/// How long a thread runs while others could: the time of a round through KVM is below 1 % of it.
pub const slice_ns = 4 * std.time.ns_per_ms;
/// While a thread runs, others that sleep are woken no finer than this.
pub const wake_step_ns = 1 * std.time.ns_per_ms;
/// POSIX timers of one guest.
pub const timers_max = 32;
/// The shortest time to the next interruption of a guest by its own timers: a period that is shorter is overrun.
pub const timer_step_min_ns = 100 * std.time.ns_per_us;
/// Linux's limits on one transfer and on the pieces of a vectored one.
pub const transfer_max_bytes = 0x7fff_f000;
pub const vector_max_pieces = 1024;
pub const program_max_bytes = 2 * GiB;
/// Names are read from a copy of the whole file: of a larger one none are known.
pub const program_names_max_bytes = 256 * MiB;

/// Small pieces of memory that the embedder or a remote has in a guest come from so many bytes at once.
pub const arena_bytes = 64 * KiB;
/// Stack for one call of a guest function, and what may be staged on it as strings and typed arrays.
pub const call_stack_bytes = 1 * MiB;
pub const call_staged_max_bytes = 512 * KiB;
pub const call_integer_args_max = 6;
pub const call_float_args_max = 8;
pub const call_stack_args_max = 16;

/// Standard output that only JavaScript drains is buffered here; an asynchronous run blocks at the first bound, a
/// synchronous call may go on to the second and then fails.
pub const output_soft_bytes = 1 * MiB;
pub const output_hard_bytes = 64 * MiB;

pub const machines_max = 1 << 16;
/// How much of a string or buffer a trace shows, as strace does by default.
pub const system_calls_traced_string_max_bytes = 32;
pub const runner_stack_bytes = 512 * KiB;
/// How long an idle native thread waits for another machine before it ends, in nanoseconds.
pub const runner_idle_ns = 2 * std.time.ns_per_s;
pub const system_call_numbers = 512;

/// Items of one list of a saved snapshot.
pub const snapshot_list_max = 1 << 24;
/// The embedder's own bytes in a saved snapshot.
pub const snapshot_user_max_bytes = 64 * MiB;
/// What its state may take: windows and mappings of a large machine.
pub const snapshot_state_max_bytes = 256 * MiB;
/// Its copies of the host's files, all together; they are memory of whoever has it open.
pub const snapshot_copied_max_bytes = 4 * GiB;
/// How often an image is tried to be sealed; the kernel waits up to 75 ms each time for pages in use (mm/memfd.c).
pub const seal_attempts = 20;
/// A guest's fault waits no longer for a page of a snapshot before it is looked whether its run is still wanted.
pub const arrival_slice_ns = 20 * std.time.ns_per_ms;
/// For so long the first request to a snapshot has the processors for itself, before what it does not need is read.
pub const snapshot_rest_delay_ns = 15 * std.time.ns_per_ms;
/// Threads that read a snapshot, beside the one that opens it.
pub const snapshot_threads_max = 3;
/// Of a program that is larger, a snapshot has no names.
pub const snapshot_names_max_bytes = 8 * MiB;
