//! mmap and its family: what Linux's mm/ answers, on the machine's own address space.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("canaries.zig");
const kernel_module = @import("kernel.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const AddressSpace = @import("../memory/address_space.zig").AddressSpace;
const files = @import("files/handlers.zig");
const HostFile = @import("../host_file.zig").HostFile;
const vma_module = @import("../memory/vma.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const Rights = vma_module.Rights;
const fail = kernel_module.fail;

const page = limits.page_size;

const PROT_MASK = 0x7;
const PROT_WRITE = 0x2;
const MAP_SHARED = 0x01;
const MAP_TYPE = 0x0f;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_32BIT = 0x40;
const MAP_NORESERVE = 0x4000;
const MAP_HUGETLB = 0x4_0000;
const MAP_FIXED_NOREPLACE = 0x10_0000;

pub fn rightsOf(protection: u64) Rights {
    return .{ .read = protection & 1 != 0, .write = protection & 2 != 0, .execute = protection & 4 != 0 };
}

/// Rounds a length up to pages; null when it is 0 or does not fit the address space.
fn pagesOf(length: u64) ?u64 {
    if (length == 0 or length > layout.user_end) return null;
    return std.mem.alignForward(u64, length, page);
}

fn inUserSpace(k: *const Kernel, start: u64, length: u64) bool {
    return k.space.area.contains(start, length);
}

/// As Linux's heuristic has it: memory that is to be written is refused at once if there is not so much in the whole machine.
fn overcommits(k: *const Kernel, bytes: u64) bool {
    return bytes / page > k.space.frames.frames_max;
}

pub fn mmap(k: *Kernel, a: Args) i64 {
    const hint, const length, const protection, const flags, const offset = .{ a[0], a[1], a[2], a[3], a[5] };
    const kind = flags & MAP_TYPE;
    if (kind == 0 or kind > 3 or offset % page != 0) return fail(.INVAL);
    const bytes = pagesOf(length) orelse return fail(if (length == 0) .INVAL else .NOMEM);
    const fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
    if (k.space.vmas.items.items.len >= limits.mappings_max) return fail(.NOMEM);
    if (kind == 2 and protection & PROT_WRITE != 0 and flags & MAP_NORESERVE == 0 and overcommits(k, bytes)) return fail(.NOMEM);
    // No huge pages are set aside, as on a machine that has none to give.
    if (flags & MAP_HUGETLB != 0) return fail(.NOMEM);
    const start = place(k.space, hint, bytes, fixed, flags & MAP_32BIT != 0) orelse return fail(if (fixed and hint % page != 0) .INVAL else .NOMEM);
    if (fixed) {
        if (start < limits.mmap_min_address) return fail(.PERM);
        if (flags & MAP_FIXED_NOREPLACE != 0 and !k.space.vmas.isFree(start, start + bytes)) return fail(.EXIST);
    }
    var vma: vma_module.Vma = .{ .start = start, .end = start + bytes, .rights = rightsOf(protection), .kind = .anonymous, .shared = kind != 2 };
    const fd: i32 = @bitCast(@as(u32, @truncate(a[4])));
    if (flags & MAP_ANONYMOUS == 0 and !files.isZeroDevice(k, fd)) {
        var errno: i64 = 0;
        if (offset > std.math.maxInt(i64) - bytes) return fail(.OVERFLOW);
        const file = files.fileForMapping(k, fd, protection, vma.shared, &errno) orelse return errno;
        if (tooManyFiles(k, file, vma.shared)) |refusal| {
            file.release(k.space.allocator);
            return fail(refusal);
        }
        vma.file = file;
        vma.file_offset = offset;
        vma.kind = .file;
        vma.write_refused = vma.shared and !files.mayWriteThrough(k, fd);
    }
    defer if (vma.file) |file| file.release(k.space.allocator);
    if (fixed) k.space.unmap(start, start + bytes) catch return fail(.NOMEM);
    k.space.map(vma) catch return fail(.NOMEM);
    return @intCast(start);
}

/// Mappings keep files open that the guest has closed, and shared ones are mappings of the host's, too.
fn tooManyFiles(k: *Kernel, file: *HostFile, shared: bool) ?linux.E {
    if (shared and k.space.frames.files.isFull()) return .NOMEM;
    const vmas = k.space.vmas.items.items;
    if (vmas.len < limits.mapped_files_max) return null;
    var known: std.AutoHashMapUnmanaged(*HostFile, void) = .empty;
    defer known.deinit(k.allocator);
    for (vmas) |vma| known.put(k.allocator, vma.file orelse continue, {}) catch return .NOMEM;
    return if (known.count() >= limits.mapped_files_max and !known.contains(file)) .NFILE else null;
}

/// Where a mapping goes: at a fixed address or a free hint, else the highest free place.
fn place(space: *AddressSpace, hint: u64, bytes: u64, fixed: bool, low: bool) ?u64 {
    if (fixed) return if (hint % page == 0 and space.area.contains(hint, bytes)) hint else null;
    const wanted = std.mem.alignBackward(u64, hint, page);
    if (wanted >= limits.mmap_min_address and space.area.contains(wanted, bytes) and space.vmas.isFree(wanted, wanted + bytes)) return wanted;
    const low_end = 2 * limits.GiB;
    if (low) return if (space.area.window == null) space.vmas.findFree(bytes, page, low_end) else null;
    const alignment: u64 = if (bytes >= limits.window_size) limits.window_size else page;
    return space.findFree(bytes, alignment);
}

pub fn munmap(k: *Kernel, a: Args) i64 {
    const bytes = pagesOf(a[1]) orelse return fail(.INVAL);
    if (a[0] % page != 0 or !inUserSpace(k, a[0], bytes)) return fail(.INVAL);
    k.space.unmap(a[0], a[0] + bytes) catch return fail(.NOMEM);
    return 0;
}

pub fn mprotect(k: *Kernel, a: Args) i64 {
    if (a[0] % page != 0 or a[2] & ~@as(u64, PROT_MASK) != 0) return fail(.INVAL);
    if (a[1] == 0) return 0;
    const bytes = pagesOf(a[1]) orelse return fail(.NOMEM);
    if (!inUserSpace(k, a[0], bytes)) return fail(.NOMEM);
    // As on Linux, what lies before the first hole is changed although the call fails.
    var covered = k.space.vmas.coveredEnd(a[0], a[0] + bytes);
    const refused = if (a[2] & PROT_WRITE != 0) k.space.vmas.writeRefusedFrom(a[0], covered) else null;
    if (refused) |address| covered = address;
    if (covered > a[0]) k.space.protect(a[0], covered, rightsOf(a[2])) catch return fail(.NOMEM);
    if (refused != null) return fail(.ACCES);
    return if (covered == a[0] + bytes) 0 else fail(.NOMEM);
}

/// Grows or shrinks the heap; answers the new break, or the old one when that cannot be.
pub fn brk(k: *Kernel, a: Args) i64 {
    const space = k.space;
    const old = space.brk_end;
    if (a[0] < space.brk_start and !canaries.is(.heap_start_ignored) or a[0] > space.area.mmap_top) return @intCast(old);
    const old_page = std.mem.alignForward(u64, old, page);
    const new_page = std.mem.alignForward(u64, a[0], page);
    if (new_page > old_page) {
        if (overcommits(k, new_page - old_page)) return @intCast(old);
        if (!space.vmas.isFree(old_page, new_page)) return @intCast(old);
        space.map(.{ .start = old_page, .end = new_page, .rights = .{ .read = true, .write = true }, .kind = .heap }) catch return @intCast(old);
    } else if (new_page < old_page) {
        space.unmap(new_page, old_page) catch return @intCast(old);
    }
    space.brk_end = a[0];
    return @intCast(a[0]);
}

const MADV_DONTNEED = 4;
const MADV_REMOVE = 9;
const MADV_DONTNEED_LOCKED = 24;
const MADV_WIPEONFORK = 18;
const MADV_KEEPONFORK = 19;

pub fn madvise(k: *Kernel, a: Args) i64 {
    if (a[0] % page != 0) return fail(.INVAL);
    if (a[1] == 0) return 0;
    const bytes = pagesOf(a[1]) orelse return fail(.INVAL);
    if (!inUserSpace(k, a[0], bytes)) return fail(.INVAL);
    switch (a[2]) {
        0...3, 8, 10...17, 20...23, 25 => {},
        MADV_REMOVE => {
            const vma = k.space.vmas.find(a[0]) orelse return fail(.NOMEM);
            if (!vma.shared) return fail(if (vma.file == null) .INVAL else .ACCES);
            // A file system without holes answers so, and programs go on without.
            return fail(if (vma.rights.write) .OPNOTSUPP else .ACCES);
        },
        MADV_WIPEONFORK, MADV_KEEPONFORK => return wipeOnFork(k, a[0], a[0] + bytes, a[2] == MADV_WIPEONFORK),
        MADV_DONTNEED, MADV_DONTNEED_LOCKED => {
            var at = a[0];
            const end = a[0] + bytes;
            while (at < end) {
                const index = k.space.vmas.indexAfter(at);
                if (index == k.space.vmas.items.items.len) break;
                const vma = k.space.vmas.items.items[index];
                if (vma.start >= end) break;
                const next = vma.end;
                const anonymous = vma.kind == .anonymous or vma.kind == .heap or vma.kind == .stack;
                // What is shared stays: it is given back by MADV_REMOVE alone.
                const discardable = !vma.shared and (anonymous or vma.file != null);
                if (discardable) k.space.discard(@max(at, vma.start), @min(end, next), vma.file != null) catch return fail(.NOMEM);
                at = next;
            }
        },
        else => return fail(.INVAL),
    }
    return if (k.space.vmas.covers(a[0], a[0] + bytes)) 0 else fail(.NOMEM);
}

/// Private anonymous memory only, as on Linux.
fn wipeOnFork(k: *Kernel, start: u64, end: u64, wipe: bool) i64 {
    if (!k.space.vmas.covers(start, end)) return fail(.NOMEM);
    var index = k.space.vmas.indexAfter(start);
    while (index < k.space.vmas.items.items.len and k.space.vmas.items.items[index].start < end) : (index += 1) {
        const vma = k.space.vmas.items.items[index];
        const anonymous = vma.kind == .anonymous or vma.kind == .heap or vma.kind == .stack;
        if (wipe and (!anonymous or vma.shared)) return fail(.INVAL);
    }
    k.space.vmas.change(start, end, .{ .wipe_on_fork = wipe }) catch return fail(.NOMEM);
    return 0;
}

const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;

pub fn mremap(k: *Kernel, a: Args) i64 {
    const old, const flags = .{ a[0], a[3] };
    const old_bytes = pagesOf(a[1]) orelse return fail(.INVAL);
    const new_bytes = pagesOf(a[2]) orelse return fail(if (a[2] == 0) .INVAL else .NOMEM);
    if (old % page != 0 or flags & ~@as(u64, 3) != 0 or flags & 3 == MREMAP_FIXED) return fail(.INVAL);
    if (!inUserSpace(k, old, old_bytes)) return fail(.FAULT);
    const vma = (k.space.vmas.find(old) orelse return fail(.FAULT)).*;
    if (vma.end < old + old_bytes) return fail(.FAULT);
    // A file has no bytes behind what its offsets can say.
    if (vma.file != null and vma.fileOffset(old) > std.math.maxInt(i64) - new_bytes) return fail(.INVAL);
    if (flags & MREMAP_FIXED == 0) {
        if (new_bytes <= old_bytes) {
            if (new_bytes < old_bytes) k.space.unmap(old + new_bytes, old + old_bytes) catch return fail(.NOMEM);
            return @intCast(old);
        }
        if (inUserSpace(k, old, new_bytes) and k.space.vmas.isFree(old + old_bytes, old + new_bytes)) {
            var grown = vma;
            grown.start = old + old_bytes;
            grown.end = old + new_bytes;
            if (vma.file != null) grown.file_offset = vma.fileOffset(grown.start);
            k.space.map(grown) catch return fail(.NOMEM);
            return @intCast(old);
        }
        if (flags & MREMAP_MAYMOVE == 0) return fail(.NOMEM);
    }
    return move(k, vma, old, old_bytes, new_bytes, if (flags & MREMAP_FIXED != 0) a[4] else null);
}

fn move(k: *Kernel, vma: vma_module.Vma, old: u64, old_bytes: u64, new_bytes: u64, wanted: ?u64) i64 {
    const target = if (wanted) |address| blk: {
        if (address % page != 0 or address < limits.mmap_min_address or !inUserSpace(k, address, new_bytes)) return fail(.INVAL);
        if (address < old + old_bytes and old < address + new_bytes) return fail(.INVAL);
        k.space.unmap(address, address + new_bytes) catch return fail(.NOMEM);
        break :blk address;
    } else place(k.space, 0, new_bytes, false, false) orelse return fail(.NOMEM);
    var moved = vma;
    moved.start = target;
    moved.end = target + new_bytes;
    if (vma.file != null) moved.file_offset = vma.fileOffset(old);
    if (moved.kind == .heap or moved.kind == .stack) moved.kind = .anonymous;
    // The mapping that is moved may be the last to hold the file.
    if (moved.file) |file| _ = file.retain();
    defer if (moved.file) |file| file.release(k.space.allocator);
    k.space.map(moved) catch return fail(.NOMEM);
    if (!moved.shared or moved.file == null) k.space.copyCommitted(old, target, @min(old_bytes, new_bytes)) catch {
        k.space.unmap(target, target + new_bytes) catch {};
        return fail(.NOMEM);
    };
    k.space.unmap(old, old + old_bytes) catch return fail(.NOMEM);
    return @intCast(target);
}

/// Nothing is ever paged out, so locking memory needs nothing.
pub fn mlock(k: *Kernel, a: Args) i64 {
    if (a[1] == 0) return 0;
    const start = std.mem.alignBackward(u64, a[0], page);
    const bytes = pagesOf(a[1] +| (a[0] - start)) orelse return fail(.NOMEM);
    if (!inUserSpace(k, start, bytes) or !k.space.vmas.covers(start, start + bytes)) return fail(.NOMEM);
    return 0;
}

pub fn msync(k: *Kernel, a: Args) i64 {
    const asynchronous, const synchronous, const known_flags = .{ 0x1, 0x4, 0x7 };
    const contradictory = a[2] & asynchronous != 0 and a[2] & synchronous != 0;
    if (a[0] % page != 0 or a[2] & ~@as(u64, known_flags) != 0 or contradictory) return fail(.INVAL);
    return mlock(k, a);
}

/// Nothing is ever paged out, so that all memory is locked already.
pub fn mlockall(_: *Kernel, a: Args) i64 {
    const known_flags = 0x7;
    return if (a[0] == 0 or a[0] & ~@as(u64, known_flags) != 0) fail(.INVAL) else 0;
}
pub fn munlockall(_: *Kernel, _: Args) i64 {
    return 0;
}
pub fn mlock2(k: *Kernel, a: Args) i64 {
    const on_fault = 1;
    return if (a[2] & ~@as(u64, on_fault) != 0) fail(.INVAL) else mlock(k, a);
}
