// Written by `npm run generate` from core/abi; do not edit.

export const ABI_VERSION = 3569784280;

export const symbols = {
  pristine_abi_version: { args: [], returns: "u32" },
  pristine_last_error: { args: ["ptr", "u32"], returns: "u32" },
  pristine_result: { args: ["ptr", "u32"], returns: "u32" },
  pristine_doctor: { args: ["u32"], returns: "i32" },
  pristine_worker_start: { args: ["ptr", "u32"], returns: "i32" },
  pristine_worker_stop: { args: ["u32"], returns: "i32" },
  pristine_worker_gone: { args: ["u32"], returns: "i32" },
  pristine_worker_split: { args: ["u32"], returns: "i32" },
  pristine_worker_seal: { args: ["u32"], returns: "i32" },
  pristine_machine_create: { args: ["ptr", "u32"], returns: "i32" },
  pristine_machine_close: { args: ["u32"], returns: "i32" },
  pristine_machine_stop: { args: ["u32"], returns: "i32" },
  pristine_machine_block: { args: ["u32"], returns: "ptr" },
  pristine_machine_run: { args: ["u32", "u32", "f64", "f64", "u32"], returns: "i32" },
  pristine_machine_run_here: { args: ["u32", "u32", "f64", "f64", "f64"], returns: "i32" },
  pristine_machine_listener: { args: ["u32"], returns: "i32" },
  pristine_connection_open: { args: ["u32", "u32"], returns: "i32" },
  pristine_connection_send: { args: ["u32", "u32", "ptr", "u32"], returns: "i32" },
  pristine_connection_receive: { args: ["u32", "u32", "ptr", "u32"], returns: "i32" },
  pristine_connection_end: { args: ["u32", "u32", "u32"], returns: "i32" },
  pristine_connect: { args: ["u32", "u32", "u32", "ptr", "u32", "u32", "u32", "u32"], returns: "i32" },
  pristine_disconnect: { args: ["u32", "u32", "ptr", "u32"], returns: "i32" },
  pristine_machine_interrupt: { args: ["u32", "u32"], returns: "i32" },
  pristine_machine_signal: { args: ["u32", "u32"], returns: "i32" },
  pristine_machine_error: { args: ["u32", "ptr", "u32"], returns: "u32" },
  pristine_machine_report: { args: ["u32", "ptr", "u32"], returns: "u32" },
  pristine_freeze: { args: ["u32"], returns: "i32" },
  pristine_image_close: { args: ["u32"], returns: "i32" },
  pristine_image_memory: { args: ["u32"], returns: "f64" },
  pristine_image_piped: { args: ["u32"], returns: "i32" },
  pristine_cpu_baseline: { args: ["u32"], returns: "i32" },
  pristine_image_save: { args: ["u32", "ptr", "u32", "ptr", "u32", "ptr", "u32", "u32", "u32"], returns: "i32" },
  pristine_image_open: { args: ["ptr", "u32", "u32", "u32"], returns: "i32" },
  pristine_source_begin: { args: [], returns: "i32" },
  pristine_source_words: { args: ["u32"], returns: "ptr" },
  pristine_source_end: { args: ["u32"], returns: "i32" },
  pristine_snapshot_inspect: { args: ["ptr", "u32"], returns: "i32" },
  pristine_job_user: { args: ["u32", "ptr", "u32"], returns: "i32" },
  pristine_job_cancel: { args: ["u32"], returns: "i32" },
  pristine_job_finish: { args: ["u32"], returns: "i32" },
  pristine_fork: { args: ["u32", "f64"], returns: "i32" },
  pristine_reset: { args: ["u32", "u32", "f64", "u32"], returns: "i32" },
  pristine_difference: { args: ["u32", "u32"], returns: "i32" },
  pristine_plant: { args: ["u32"], returns: "i32" },
  pristine_call_begin: { args: ["u32"], returns: "i32" },
  pristine_call_stage: { args: ["u32", "u32", "ptr", "u32"], returns: "i32" },
  pristine_call: { args: ["u32"], returns: "i32" },
  pristine_call_async: { args: ["u32", "u32"], returns: "i32" },
  pristine_memory_base: { args: ["u32"], returns: "ptr" },
  pristine_memory_translate: { args: ["u32", "f64", "f64"], returns: "f64" },
  pristine_memory_pieces: { args: ["u32", "f64", "f64"], returns: "i32" },
  pristine_memory_read: { args: ["u32", "f64", "ptr", "u32"], returns: "i32" },
  pristine_memory_write: { args: ["u32", "f64", "ptr", "u32"], returns: "i32" },
  pristine_memory_cstring: { args: ["u32", "f64", "ptr", "u32"], returns: "i32" },
  pristine_memory_allocate: { args: ["u32", "f64", "f64"], returns: "f64" },
  pristine_symbol: { args: ["u32", "ptr", "u32"], returns: "f64" },
  pristine_counters: { args: ["u32", "ptr"], returns: "i32" },
  pristine_pipe: { args: ["ptr"], returns: "i32" },
  pristine_image: { args: ["ptr", "u32"], returns: "i32" },
  pristine_events_fd: { args: [], returns: "i32" },
  pristine_events_take: { args: ["ptr", "u32"], returns: "u32" },
  pristine_output_read: { args: ["u32", "u32", "ptr", "u32"], returns: "i32" },
  pristine_output_close: { args: ["u32", "u32"], returns: "i32" },
} as const;

/** Byte offsets. */
export const MachineBlock = {
  size: 328,
  call: 0,
  state: 288,
  stop_reason: 292,
  stop_code: 296,
  generation: 300,
  reset_mode: 304,
  reset_pages: 308,
  reset_nanoseconds: 312,
  fork_generation: 320,
} as const;

/** Byte offsets. */
export const CallFrame = {
  size: 288,
  function: 0,
  integers: 8,
  floats: 56,
  stack_args: 120,
  float_count: 248,
  stack_count: 252,
  timeout_ms: 256,
  cpu_timeout_ms: 264,
  result_integer: 272,
  result_float: 280,
} as const;

/** Byte offsets. */
export const Counters = {
  size: 4176,
  exits: 0,
  syscalls: 8,
  faults: 16,
  host_calls: 24,
  pages_touched: 32,
  pages_copied: 40,
  guest_nanoseconds: 48,
  cycles: 56,
  remote_calls: 64,
  bytes_copied: 72,
  by_number: 80,
  unsupported: 2128,
} as const;

/** Byte offsets. */
export const Event = {
  size: 16,
  kind: 0,
  handle: 4,
  ticket: 8,
  status: 12,
} as const;

export const EventKind = {
  run_done: 1,
  call_done: 2,
  output_ready: 3,
  job_done: 4,
} as const;

export const MachineState = {
  loaded: 0,
  running: 1,
  stopped: 2,
  exited: 3,
  poisoned: 4,
  closed: 5,
} as const;

export const StopReason = {
  none: 0,
  exit: 1,
  signal: 2,
  listen: 3,
  ready: 4,
  idle: 5,
  paused: 6,
} as const;

export const ResetMode = {
  auto: 0,
  rewrite: 1,
  full: 2,
} as const;

export const CpuBaseline = {
  x86_64: 0,
  x86_64_v2: 1,
  x86_64_v3: 2,
  x86_64_v4: 3,
} as const;

export const RemoteMode = {
  shared: 0,
  fork: 1,
  pool: 2,
} as const;

export const Verify = {
  full: 0,
  lazy: 1,
  trusted: 2,
  recording: 3,
} as const;

export const SavedFiles = {
  refer: 0,
  copy: 1,
} as const;

export const PlantedFault = {
  none: 0,
  vectors_not_loaded: 1,
  mxcsr_kept: 2,
  x87_kept: 3,
  avx_upper_halves_kept: 4,
  avx512_kept: 5,
  registers_kept: 6,
  fs_base_kept: 7,
  gs_base_kept: 8,
  page_forgotten: 9,
  page_half_copied: 10,
  touched_set_not_renewed: 11,
  zero_page_kept: 12,
  table_entry_kept: 13,
  mapping_not_revoked: 14,
  table_frame_used_again: 15,
  image_range_not_mapped_again: 16,
  full_reset_keeps_growth: 17,
  allocator_kept: 18,
  window_kept: 19,
  mappings_kept: 20,
  protections_kept: 21,
  file_shown_kept: 22,
  heap_end_kept: 23,
  descriptor_kept: 24,
  offset_kept: 25,
  descriptor_flag_kept: 26,
  pipe_bytes_kept: 27,
  epoll_watch_kept: 28,
  socket_bytes_kept: 29,
  socket_kept: 30,
  event_count_kept: 31,
  timerfd_kept: 32,
  handler_kept: 33,
  mask_kept: 34,
  pending_kept: 35,
  timer_kept: 36,
  alternate_stack_kept: 37,
  directory_kept: 38,
  private_file_kept: 39,
  private_content_kept: 40,
  private_content_shared: 41,
  layer_whiteout_kept: 42,
  scheduling_kept: 43,
  umask_kept: 44,
  limit_kept: 45,
  name_kept: 46,
  thread_address_kept: 47,
  threads_kept: 48,
  waiting_call_kept: 49,
  thread_registers_kept: 50,
  thread_signals_kept: 51,
  call_area_kept: 52,
  arena_kept: 53,
  generation_kept: 54,
  clock_kept: 55,
  wiped_page_kept: 56,
  program_kept: 57,
} as const;

/** Index n is status -(n + 1). */
export const errorCodes = [
  "KVM_UNAVAILABLE",
  "NOT_FOUND",
  "NOT_EXECUTABLE",
  "BAD_OPTION",
  "BAD_ADDRESS",
  "NO_SYMBOL",
  "GUEST_FAULT",
  "GUEST_EXIT",
  "TIMEOUT",
  "OUT_OF_MEMORY",
  "DENIED",
  "NEEDS_RESET",
  "STALE_VIEW",
  "CLOSED",
  "BUSY",
  "SNAPSHOT_INVALID",
  "SNAPSHOT_MISMATCH",
  "REMOTE_FAULT",
  "BAD_REPLY",
  "BUNDLE_FAILED",
  "UNSUPPORTED",
  "ABI_MISMATCH",
  "INTERNAL",
  "ABORTED",
] as const;

/** Places in every guest. */
export const addresses = {
  call_return: 140736414621792,
} as const;

export const limits = {
  call_integer_args_max: 6,
  call_float_args_max: 8,
  call_stack_args_max: 16,
  call_staged_max_bytes: 524288,
  memory_default_bytes: 536870912,
  memory_min_bytes: 262144,
  memory_max_bytes: 1099511627776,
  system_call_numbers: 512,
} as const;
