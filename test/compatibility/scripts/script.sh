#!/bin/dash
echo "$# $1 $2"
for i in 1 2 3; do echo $i; done
exit 4
