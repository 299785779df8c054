#!/usr/bin/perl -w
print scalar(@ARGV), qq( @ARGV\n);
my $x; print 'x' . $x;
