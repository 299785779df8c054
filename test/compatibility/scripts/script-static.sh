#!/bin/busybox sh
echo "busybox ${0##*/}"
