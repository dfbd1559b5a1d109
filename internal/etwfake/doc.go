// Package etwfake plays Event Tracing for Windows for tests under Wine: a DLL with
// the functions of ETW, their calling convention and their structures, which takes
// the place of Wine's advapi32.dll in a prefix of its own. The program that is
// tested is the one that is released. What a real kernel does, it does not show:
// which events come, in which order, and what is lost when buffers are full.
package etwfake
