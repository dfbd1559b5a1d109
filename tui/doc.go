// Package tui is the terminal user interface.
//
// # Data flow
//
// A [fold.History] takes the events on the pipeline's own goroutine and adds them
// up into frames of one second of event time, kept in a bounded history. At most
// ten times a second it publishes an immutable [fold.Snapshot]: this package draws
// it and keeps no facts about the host. The user interface holds a pointer to one
// snapshot: a tick swaps the pointer, pausing keeps it, scrolling back looks at an
// older frame of it. Live sessions and recordings share this path; a recording
// adds a [Player].
//
// No event ever becomes a message of the terminal program, and nothing that can
// block is called while a key is handled or a frame is drawn: work such as
// writing a recording runs as a command beside the loop.
//
// # Frames
//
// Frames begin at whole seconds. An interval that overlaps two frames gives
// each its part of the counts, by overlap; its percentiles and maxima count for
// each frame that it touches. A percentile of a frame is therefore that of the
// intervals that touch the second. The frame that is shown in a live session is
// the newest one whose intervals have all arrived: it lies one to two seconds
// back. Frames stay open for as long as the longest interval seen so far, up to a
// minute; the first interval that is longer is shown for the seconds that are
// still open, while totals have all of it.
//
// # Drawing
//
// A page gives sections, a section is a table or a block of text, the layout
// gives each its place, and one writer ([line]) puts text on the screen. All
// text passes through that writer, and it alone decides what a terminal gets to
// see: control and formatting characters of names from the traced host never
// pass. Styles are few and fixed, so they are kept as ready escape sequences; a
// general styling library costs more than the frame budget (2 ms at 200x60).
//
// The package itself is portable. Where bubbletea does not build (js/wasm),
// [Run] returns [ErrNoTerminal] and everything else works.
package tui
