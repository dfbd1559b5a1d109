//go:build !unix

package main

import "io/fs"

// ownerOf returns nothing: files have other rights here.
func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }
