//! The rows of polling in the system-call table.
const call_module = @import("../call.zig");
const epoll = @import("epoll_calls.zig");
const eventfd = @import("eventfd.zig");
const poll = @import("poll.zig");
const signalfd = @import("signalfd.zig");
const timerfd = @import("timerfd.zig");
const row = call_module.row;

pub const rows = [_]call_module.Call{
    row(7, "poll", poll.poll, &.{ .address, .size, .integer }),
    row(23, "select", poll.select, &.{ .integer, .address, .address, .address, .address }),
    row(213, "epoll_create", epoll.epollCreate, &.{.integer}),
    row(232, "epoll_wait", epoll.epollWait, &.{ .descriptor, .address, .integer, .integer }),
    row(233, "epoll_ctl", epoll.epollCtl, &.{ .descriptor, .epoll_operation, .descriptor, .address }),
    row(270, "pselect6", poll.pselect6, &.{ .integer, .address, .address, .address, .address, .address }),
    row(271, "ppoll", poll.ppoll, &.{ .address, .size, .address, .address, .size }),
    row(281, "epoll_pwait", epoll.epollPwait, &.{ .descriptor, .address, .integer, .integer, .address, .size }),
    row(282, "signalfd", signalfd.signalfd, &.{ .descriptor, .address, .size }),
    row(283, "timerfd_create", timerfd.timerfdCreate, &.{ .clock, .hex }),
    row(284, "eventfd", eventfd.eventfd, &.{.unsigned}),
    row(286, "timerfd_settime", timerfd.timerfdSettime, &.{ .descriptor, .hex, .address, .address }),
    row(287, "timerfd_gettime", timerfd.timerfdGettime, &.{ .descriptor, .address }),
    row(289, "signalfd4", signalfd.signalfd4, &.{ .descriptor, .address, .size, .hex }),
    row(290, "eventfd2", eventfd.eventfd2, &.{ .unsigned, .hex }),
    row(291, "epoll_create1", epoll.epollCreate1, &.{.hex}),
    row(441, "epoll_pwait2", epoll.epollPwait2, &.{ .descriptor, .address, .integer, .address, .address, .size }),
};
