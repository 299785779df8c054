//! The records of a saved machine's state: plain data, with numbers in place of references.
//!
//! Where a field has the name and the type that it has in the machine, it is that one, unchanged; `covers` holds that none is
//! forgotten. A table may only get more fields, at the end and with a default (`codec.zig`).
//! Not here: filling them (`capture.zig`), making a machine of them (`revive.zig`), whether they make sense (`check.zig`).
const std = @import("std");
const faults = @import("../faults.zig");
const kernel_module = @import("../linux/kernel.zig");
const kvm = @import("../kvm.zig");
const readiness = @import("../linux/events/readiness.zig");
const scheduling = @import("../linux/scheduling.zig");
const signals = @import("../linux/signals.zig");
const socket_module = @import("../linux/sockets/socket.zig");
const synthetic = @import("../linux/synthetic.zig");
const table = @import("../linux/files/table.zig");
const threads = @import("../linux/threads.zig");
const timers = @import("../linux/timers.zig");
const tree = @import("../linux/files/private/tree.zig");
const vma_module = @import("../memory/vma.zig");
const waiting = @import("../linux/waiting.zig");
const Address = @import("../linux/sockets/address.zig").Address;
const Ip = @import("../linux/sockets/address.zig").Ip;
const BlockUse = @import("../memory/block.zig").Use;
const CallArea = @import("../call.zig").CallArea;
const Credentials = @import("../linux/sockets/queue.zig").Credentials;
const Event = @import("../linux/events/eventfd.zig").Event;
const FileTable = table.FileTable;
const MachineState = @import("../machine.zig").State;
const OptionValues = @import("../linux/sockets/option_values.zig").Values;
const Timer = @import("../linux/events/timerfd.zig").Timer;

/// The place of something in its table.
pub const Number = u32;

/// Every field of `T` is a field of the record, or one of those that are left out, for reasons that are told where they are.
pub fn covers(comptime T: type, comptime Record: type, comptime left_out: []const []const u8) void {
    @setEvalBranchQuota(50_000);
    comptime for (@typeInfo(T).@"struct".fields) |field| {
        const is_left_out = for (left_out) |name| {
            if (std.mem.eql(u8, name, field.name)) break true;
        } else false;
        if (@hasField(Record, field.name) == is_left_out) @compileError(@typeName(T) ++ "." ++ field.name ++ ": to be saved or to be left out");
    };
}

/// Copies the fields that both have with one name and one type.
pub fn copyShared(to: anytype, from: anytype) void {
    inline for (@typeInfo(@TypeOf(to.*)).@"struct".fields) |field| {
        if (comptime @hasField(@TypeOf(from.*), field.name) and @FieldType(@TypeOf(from.*), field.name) == field.type) @field(to, field.name) = @field(from, field.name);
    }
}

pub const Machine = struct {
    call: CallArea,
    arena_at: u64,
    arena_end: u64,
    state: MachineState,
    started: bool,
    stepping: bool,
    gives_way: bool,
    asks_thread_ids: bool,
    last_fault: faults.Fault,
    fault_repeats: u32,
    fault_address: u64,
    fault_rip: u64,
    stop_regs: kvm.Regs,
    /// Which standard outputs the embedder reads.
    outputs: [2]bool,
    has_tracer: bool,
    /// Servers listen inside the machine alone.
    inside: bool,
    callers_stack: CallArea = .{},
};

/// Where the clocks stood, in nanoseconds; and how long one cycle of CPU time was, times 2^32.
pub const Clock = struct { realtime_ns: i64, boottime_ns: i64, monotonic_ns: i64, monotonic_raw_ns: i64, cycle: u64 };

pub const Program = struct {
    file: Number,
    bias: u64,
    entry: u64,
    page_start: u64,
    page_end: u64,
    command_line: []const u8,
    /// The names of its functions and data, one behind another.
    names: []const u8,
    symbols: []const Symbol,
};

pub const Symbol = struct { name_offset: u32, name_length: u16, info: u8, absolute: bool, value: u64, size: u64 };

pub const Signals = struct { actions: [signals.count + 1]signals.Action, pending: u64, queue: []const signals.Entry, arrivals: u64 };

pub const Kernel = struct {
    signals: Signals,
    timers: timers.Timers,
    identity: kernel_module.Identity,
    scheduling: scheduling.Scheduling,
    umask: u32,
    segments: ?threads.Segments,
    current_segments: threads.Segments,
    resource_limits: [16]kernel_module.ResourceLimit,
    gives_way: bool,
    ends_thread: bool,
    exit_code: u8,
    registers_replaced: bool,
    cpu_cycles: u64,
    working_directory: []const u8,
    /// Of the threads.
    current: Number,
    next_id: i32,
    turns: u64,
    changes: u64,
    served: u64,
    least_had: u64,
    switched_at: u64,
    /// Of the sockets.
    next_number: u64,
    next_port: u16,
    next_name: u32,
    /// Of the private files: the folders that are layers, paths with links that lead to them, and the next inode.
    layers: []const []const u8,
    ways: []const []const u8,
    next_inode: u64,
    /// Of the address space and of the guest-physical one.
    brk_start: u64,
    brk_end: u64,
    root: u32,
    bytes_max: u64,
    /// Of a remote: its window of the address space, and what it offers.
    window: ?u8 = null,
    exports: []const Export = &.{},
    /// Functions of remotes that the program has asked for.
    imports: []const []const u8 = &.{},
};

pub const Export = struct { name: []const u8, address: u64 };

pub const ThreadSignals = struct {
    blocked: u64,
    queue: []const signals.Entry,
    awaited: u64,
    alternate: signals.AlternateStack,
    fault: ?faults.Fault,
    saved_mask: ?u64,
};

pub const Call = struct {
    number: u64,
    args: kernel_module.Args,
    tries: u32,
    deadline: ?waiting.Deadline,
    progress: u64,
    futex: ?waiting.FutexWait,
    seen: u64,
    listens: ?u32,
};

/// The first is the one that runs functions for the embedder, then comes the program's first.
pub const Thread = struct {
    id: i32,
    state: threads.State,
    turn: u64,
    had: u64,
    regs: kvm.Regs,
    segments: threads.Segments,
    /// An XSAVE image in its standard form.
    vectors: [kvm.xsave_bytes]u8,
    signals: ThreadSignals,
    call: Call,
    answered: ?threads.Thread.Answered,
    timed: bool,
    clear_child_tid: u64,
    robust_list: u64,
    name: [16]u8,
    cycles: u64,
};

/// A file of the host's, or the content of a private one, that open files and mappings refer to.
pub const File = struct {
    /// The guest's name of it.
    path: []const u8,
    content: ?Number,
    /// What it is recognized by.
    bytes: u64,
    modified_ns: i64,
    /// How it was opened: the access mode of open(2).
    access: u32,

    /// Whether the content is the snapshot's copy of a file of the host's, which is only read; private files can be written.
    pub fn isCopy(self: *const File) bool {
        return self.content != null and self.access == 0;
    }
};

/// Bytes of a private file, or of a copy of a file of the host's, which lie one behind another in the section of contents.
pub const Content = struct { bytes: u64 };

pub const Watch = struct { fd: i32, description: Number, events: u32, data: u64, told: readiness.Changes, new_in: bool, new_out: bool, disabled: bool };

pub const Kind = union(enum) {
    /// The number of the standard stream that it is.
    host_stream: u8,
    output: u8,
    host_file: struct { file: Number, at: u64 },
    host_directory: struct { path: []const u8, place: u64, at: ?u64 },
    device: synthetic.Device,
    text: struct { bytes: []const u8, at: u64 },
    synthetic_directory: struct { path: []const u8, at: u64 },
    private_file: table.OpenNode,
    private_directory: table.OpenNode,
    pipe_read: Number,
    pipe_write: Number,
    epoll: struct { watches: []const Watch, next: u32, changes: u64 },
    event: Event,
    timer: Timer,
    signals: u64,
    socket: Number,
};

comptime {
    // A kind of open file that snapshots do not know does not compile.
    for (@typeInfo(table.Kind).@"union".fields, @typeInfo(Kind).@"union".fields) |kind, saved| std.debug.assert(std.mem.eql(u8, kind.name, saved.name));
}

pub const Description = struct { kind: Kind, status_flags: u32, path: []const u8, changes: readiness.Changes };

pub const Slot = struct { description: ?Number, close_on_exec: bool };

pub const Pipe = struct { bytes: []const u8, limit: u32, changes_in: u64, changes_out: u64 };

/// What a socket has received: one message, or a piece of a stream.
pub const Piece = struct { bytes: []const u8, capacity: u32, source: Address, sender: Credentials, rights: []const Number };

pub const Socket = struct {
    family: socket_module.Family,
    type: socket_module.Type,
    protocol: u16,
    number: u64,
    state: socket_module.State,
    /// It has a socket of the host's, which is to be made anew.
    has_host: bool,
    local: Address,
    port_is_own: bool,
    may_listen: bool,
    remote: Address,
    peer: ?Number,
    received: []const Piece,
    heard: [socket_module.heard_max]Ip,
    heard_next: u8,
    waiting: []const Number,
    backlog: u32,
    is_accepted: bool,
    wants: ?Number,
    shutdown: socket_module.Shutdown,
    failure: u16,
    told_connected: bool,
    peer_credentials: ?Credentials,
    options: OptionValues,
    outside: bool,
    wants_room: bool,
    told_end: bool,
    changes_in: u32,
    changes_out: u32,
};

pub const Entry = struct { name: []const u8, node: Number, cookie: u64 };

pub const Node = struct {
    kind: tree.Kind,
    mode: u32,
    owner: tree.User,
    links: u32,
    inode: u64,
    accessed: tree.Time,
    modified: tree.Time,
    changed: tree.Time,
    parent: Number,
    content: ?Number,
    size: u64,
    target: []const u8,
    entries: []const Entry,
    next_cookie: u64,
    merged: bool,
    origin: ?tree.Origin,
};

pub const Vma = struct {
    start: u64,
    end: u64,
    rights: vma_module.Rights,
    kind: vma_module.Kind,
    shared: bool,
    wipe_on_fork: bool,
    file: ?Number,
    file_offset: u64,
    write_refused: bool,
    written: bool,
};

/// Pages of a window that have frames in a row.
pub const Frames = struct { page: u16, count: u16, frame: u32 };
pub const Window = struct { number: u64, table: u32, block: ?u32, frames: []const Frames };
/// A page table, by what it is for (`memory/page_tables.zig`).
pub const Table = struct { key: u64, frame: u32 };
/// Frames in use of a block, of those of small use.
pub const Block = struct { use: BlockUse, used: [64]u8 };
pub const FilePiece = struct { first: u32, last: u32, file: Number, offset: u64, writable: bool };
/// Pages that requests are known to write.
pub const Written = struct { first: u32, count: u32 };

/// All tables, in the order in which they are written.
pub const State = struct {
    clock: []const Clock = &.{},
    machine: []const Machine = &.{},
    program: []const Program = &.{},
    kernel: []const Kernel = &.{},
    threads: []const Thread = &.{},
    contents: []const Content = &.{},
    files: []const File = &.{},
    pipes: []const Pipe = &.{},
    sockets: []const Socket = &.{},
    descriptions: []const Description = &.{},
    slots: []const Slot = &.{},
    nodes: []const Node = &.{},
    vmas: []const Vma = &.{},
    windows: []const Window = &.{},
    tables: []const Table = &.{},
    blocks: []const Block = &.{},
    pieces: []const FilePiece = &.{},
    written: []const Written = &.{},
};
