// Package compare says what differs between two captures, such as one of a good and one of a bad night: how much of
// each CPU deferred work takes, how long it waits, what is lost where and why, which ports are held and taken, and
// which findings only one of them has.
//
// A capture becomes series of one value a second (of a sample, where an input has longer ones; of several seconds in
// captures longer than an hour). Two series differ where all of this holds:
//
//   - Their means are further apart than chance explains (stats.Compare), when all series that are looked at are
//     counted (Holm, 5 % for any false difference).
//   - In four of five pairs of a value of A and one of B, the same one is greater.
//   - The difference is at least as great as matters (floors), which is decided before anything is tested.
//
// Everything else is "no difference can be shown". What happens once in a recording, such as one burst of drops, is no
// difference of two recordings by itself: findings report it, and what happened only during one of them is listed
// apart.
package compare
