set f [open text]; set n 0; while {[gets $f line] >= 0} { incr n [lindex $line 0] }; close $f
puts "$n [expr {2**100}] [string toupper abc] [lsort -integer {3 1 2}] [clock format 0 -gmt 1 -format %Y-%m-%d]"
dict set d a 1; dict set d b 2; puts [dict map {k v} $d {expr {$v * 2}}]
puts [regsub -all {(\d)} "a1b2" {<\1>}]; puts [lsort [glob folder/*]]
proc deep n { if {$n == 0} { return 0 }; expr {1 + [deep [expr {$n - 1}]]} }; puts [deep 500]
coroutine c apply {{} { foreach x {1 2 3} { yield $x } }}; puts [c]
after 20 { set ready 1 }; vwait ready; puts "timer fired"
catch {error oops} message; puts $message; puts stderr "to standard error"; exit 3
