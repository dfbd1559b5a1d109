// Package pause notices that the whole host stood still. Nothing that runs on it can see that by itself: no program
// runs meanwhile, and of a virtual machine that is stopped the clocks stand still as well.
//
//   - suspended: CLOCK_BOOTTIME has gone on, CLOCK_MONOTONIC has not. Exact.
//   - stopped (a virtual machine: a snapshot, a migration, a debugger): its real-time clock has gone on, which the
//     hypervisor keeps, and CLOCK_BOOTTIME has not. /sys/class/rtc/rtc0/since_epoch is read every 5 s; it counts
//     seconds, so that the length is known to about a second, and what is shorter than a second or two is not seen.
//
// A real-time clock that is set from the wall clock (by hwclock, or by the kernel every 11 minutes) moves as well, and
// agrees with it afterwards, and did not before: that is no pause.
package pause
