package etw

// Providers and event classes that are decoded.
var (
	ClassEventTrace     = MustGUID("68fdd900-4a3e-11d1-84f4-0000f80464e3")
	ClassProcess        = MustGUID("3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c")
	ClassThread         = MustGUID("3d6fa8d1-fe05-11d0-9dda-00c04fd7ba7c")
	ClassImage          = MustGUID("2cb15d1d-5fc1-11d2-abe1-00a0c911f518")
	ClassImageID        = MustGUID("b3e675d7-2554-4f18-830b-2762732560de")
	ClassTCPIP          = MustGUID("9a280ac0-c8e0-11d1-84e2-00c04fb998a2")
	ClassUDPIP          = MustGUID("bf3a50c5-a9c9-4988-a005-2df0b7c80f80")
	ClassPerfInfo       = MustGUID("ce1dbfb4-137e-4da6-87b0-3f59aa102cbc")
	ClassSystemConfig   = MustGUID("01853a65-418f-4f36-aefc-dc0f1d2fd235")
	ClassSystemConfigEx = MustGUID("9b79ee91-b5fd-41c0-a243-4248e266e9d0")
	ClassStackWalk      = MustGUID("def2fe46-7bd6-4b80-bd94-f57fe20d0ce3")
	ClassEventInfo      = MustGUID("bbccf6c1-6cd1-48c4-80ff-839482e37671")
	ClassLost           = MustGUID("6a399ae0-4bc6-4de9-870b-3657f8947e7e")

	ProviderKernelNetwork = MustGUID("7dd42a49-5329-4832-8dfd-43d979153a88")
	ProviderAFD           = MustGUID("e53c6823-7bb8-44bb-90dc-3f86090d48a6")
	ProviderTCPIP         = MustGUID("2f07e2ee-15db-40f1-90ef-9d7ba282188a")
	ProviderNDIS          = MustGUID("cdead503-17f5-4a3e-b7ae-df8cc2902eb9")
	ProviderRPC           = MustGUID("6ad52b32-d609-4be9-ae07-ce8dae937e39")
	ProviderRPCSS         = MustGUID("d8975f88-7ddb-4ed0-91bf-3adf48c48e0c")
	ProviderPktMon        = MustGUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
	ProviderNDISCapture   = MustGUID("2ed6006e-4729-4609-b423-3ee7bcd678ef")
)

// groups are the classes of the kernel's group numbers; a zero entry is a
// group without a known class.
var groups = [256]GUID{
	0x00: ClassEventTrace,
	0x01: MustGUID("3d6fa8d4-fe05-11d0-9dda-00c04fd7ba7c"), // DiskIo
	0x02: MustGUID("3d6fa8d3-fe05-11d0-9dda-00c04fd7ba7c"), // PageFault
	0x03: ClassProcess,
	0x04: MustGUID("90cbdc39-4a3e-11d1-84f4-0000f80464e3"), // FileIo
	0x05: ClassThread,
	0x06: ClassTCPIP,
	0x07: MustGUID("3282fc76-feed-498e-8aa7-e70f459d430e"), // Job
	0x08: ClassUDPIP,
	0x09: MustGUID("ae53722e-c863-11d2-8659-00c04fa321a1"), // Registry
	0x0a: MustGUID("13976d09-a327-438c-950b-7f03192815c7"), // DbgPrint
	0x0b: ClassSystemConfig,
	0x0d: MustGUID("42695762-ea50-497a-9068-5cbbb35e0b95"), // Wnf
	0x0e: MustGUID("0268a8b6-74fd-4302-9dd0-6e8f1795c0cf"), // Pool
	0x0f: ClassPerfInfo,
	0x10: MustGUID("222962ab-6180-4b88-a825-346b75f2a24a"), // Heap
	0x11: MustGUID("89497f50-effe-4440-8cf2-ce6b1cdcaca7"), // Object
	0x12: MustGUID("e43445e0-0903-48c3-b878-ff0fccebdd04"), // Power
	0x14: ClassImage,
	0x16: MustGUID("7687a439-f752-45b8-b741-321aec0f8df9"), // Cache manager
	0x17: MustGUID("3ac66736-cc59-4cff-8115-8df50e39816b"), // CritSec
	0x18: ClassStackWalk,
	0x1a: MustGUID("45d8cccd-539f-4b72-a8b7-5c683142609a"), // ALPC
	0x1b: MustGUID("d837ca92-12b9-44a5-ad6a-3a65b3578aa8"), // SplitIo
	0x1c: MustGUID("c861d0e2-a2c1-4d36-9f9c-970bab943a12"), // ThreadPool
}

// GroupClass returns the class of a kernel record's group and type. A group
// without a known class gets a GUID that is zero but for the group number in
// its last byte. Type 10 of the process group is an image load.
func GroupClass(group, kind uint8) GUID {
	if group == 0x03 && kind == 10 {
		return ClassImage
	}
	if g := groups[group]; g != (GUID{}) {
		return g
	}
	return GUID{15: group}
}
