// Package report makes one document of what was found in files, to be attached to a ticket: the verdicts first, then
// what they rest on. A [Collector] follows the fold of one file and keeps what is drawn; a [Report] is one or more of
// these with their findings, and is written as a page, as Markdown or as JSON.
//
// The page needs nothing but itself: its pictures are SVG, so that it prints and can be read where scripts are
// blocked. The one script adds a time line to zoom into. All names in it come from traced hosts and are escaped
// by the elements and texts that the page is made of (element.go).
package report
