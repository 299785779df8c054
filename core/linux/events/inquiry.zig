//! What several descriptions are ready for, found with at most one question to the host.
//!
//! First everything that is wanted is named, then the host is asked for what only it knows, then answers are read. Epoll
//! sets within sets are followed; each set is looked at once, however often it is watched.
const std = @import("std");
const linux = std.os.linux;
const epoll = @import("epoll.zig");
const limits = @import("../../limits.zig");
const readiness = @import("readiness.zig");
const timerfd = @import("timerfd.zig");
const Changes = readiness.Changes;
const Description = @import("../files/table.zig").Description;
const Kernel = @import("../kernel.zig").Kernel;

pub const Inquiry = struct {
    k: *Kernel,
    /// Tells what was noted for this inquiry from what an earlier one has left behind.
    stamp: u64,
    /// The same for judgements, which the host's answers may change.
    judgement: u64,
    count: usize,
    host: [limits.descriptors_max]linux.pollfd,

    /// In place, since it is large.
    pub fn begin(self: *Inquiry, k: *Kernel) void {
        self.k = k;
        self.count = 0;
        self.stamp = k.files.nextStamp();
        self.judgement = self.stamp;
        // What has expired counts as a change.
        timerfd.expire(k);
    }

    /// Some of `events` of a description are wanted.
    pub fn want(self: *Inquiry, description: *Description, events: u32) void {
        if (description.kind == .epoll) {
            if (events & readiness.readable != 0) self.wantWatched(description.kind.epoll);
        } else if (readiness.hostFd(description)) |fd| self.wantOfHost(description, fd, events);
    }

    pub fn wantWatched(self: *Inquiry, set: *epoll.Epoll) void {
        if (set.inquiry == self.stamp) return;
        set.inquiry = self.stamp;
        for (set.watches.items) |*watch| {
            const events = watch.wanted(self.changes(watch.description));
            if (events != 0) self.want(watch.description, events);
        }
    }

    fn wantOfHost(self: *Inquiry, description: *Description, fd: i32, events: u32) void {
        const known: i16 = @bitCast(@as(u16, @truncate(events)));
        if (description.inquiry == self.stamp) {
            self.host[description.asked].events |= known;
            return;
        }
        // Descriptions that are open, each once.
        if (self.count == self.host.len) return;
        description.inquiry = self.stamp;
        description.asked = @intCast(self.count);
        self.host[self.count] = .{ .fd = fd, .events = known, .revents = 0 };
        self.count += 1;
    }

    /// Asks the host for what was wanted of it, if anything was. With `patient` it may wait until the thread sleeps.
    pub fn ask(self: *Inquiry, how: enum { patient, now }) void {
        if (self.count == 0) return;
        self.k.askHost(self.host[0..self.count], if (how == .now) .now else .patient);
        self.judgement = self.k.files.nextStamp();
    }

    /// What a description is ready for, as far as it was wanted.
    pub fn eventsOf(self: *Inquiry, description: *Description) u32 {
        if (description.kind == .epoll) return if (self.isAnyReady(description.kind.epoll)) readiness.readable else 0;
        return readiness.of(self.k, description) orelse self.answer(description);
    }

    fn answer(self: *const Inquiry, description: *const Description) u32 {
        return if (description.inquiry == self.stamp) @as(u16, @bitCast(self.host[description.asked].revents)) else 0;
    }

    /// What a watch has to tell; 0 if nothing.
    pub fn report(self: *Inquiry, watch: *const epoll.Watch) u32 {
        const wanted = watch.wanted(self.changes(watch.description));
        if (wanted == 0) return 0;
        const found = self.eventsOf(watch.description);
        return if (found & wanted == 0) 0 else found & watch.interest();
    }

    fn isAnyReady(self: *Inquiry, set: *epoll.Epoll) bool {
        if (set.judged == self.judgement) return set.is_ready;
        set.judged = self.judgement;
        set.is_ready = for (set.watches.items) |*watch| {
            if (self.report(watch) != 0) break true;
        } else false;
        return set.is_ready;
    }

    /// What has happened to a description; to an epoll set what has happened to anything in it.
    pub fn changes(self: *Inquiry, description: *const Description) Changes {
        return if (description.kind == .epoll) .{ .in = self.changesWithin(description.kind.epoll) } else readiness.changes(self.k, description);
    }

    fn changesWithin(self: *Inquiry, set: *epoll.Epoll) u64 {
        if (set.summed == self.stamp) return set.sum;
        set.summed = self.stamp;
        set.sum = set.changes;
        for (set.watches.items) |*watch| {
            const within = self.changes(watch.description);
            set.sum +%= within.in +% within.out;
        }
        return set.sum;
    }
};
