package etw

import "fmt"

// Numbers of errors that the functions of ETW return.
const (
	errorAccessDenied      = 5
	errorBadLength         = 24
	errorNotSupported      = 50
	errorInvalidParameter  = 87
	errorDiskFull          = 112
	errorInsufficient      = 122
	errorAlreadyExists     = 183
	errorCancelled         = 1223
	errorPrivilegeNotHeld  = 1314
	errorNoSystemResources = 1450
	errorTimeout           = 1460
	errorNotFound          = 1168
	errorInstanceNotFound  = 4201
	errorClosePending      = 7007

	errorNoMapper      = 1702
	errorNoMoreEntries = 1772
)

// CallError is a function of Windows that has failed.
type CallError struct {
	// Call says what was tried: "start the session lostbeat-42-user".
	Call string
	// Code is what Windows returned.
	Code uint32
	// Sessions are the names of the running sessions, where there are too many of them.
	Sessions []string
	// Most is how many there may be, 0 unknown.
	Most uint32
}

var callErrors = map[uint32]struct{ text, hint string }{
	errorAccessDenied: {
		"access is denied",
		"run it from an elevated prompt (Run as administrator); without one, --probe counters shows CPU, DPC and " +
			"interrupt times and the counters of network adapters",
	},
	errorBadLength: {
		"this version of Windows expects another structure size", "please report it with the version of Windows",
	},
	errorNotSupported: {
		"this version of Windows does not support it",
		"Windows 10 1809 or Server 2019 and later are supported, outside of containers",
	},
	errorInvalidParameter: {
		"this version of Windows does not accept the session's settings",
		"Windows 10 1809 or Server 2019 and later are supported",
	},
	errorDiskFull: {"the disk is full", "free space on the Windows drive: trace sessions leave 200 MB of it free"},
	errorAlreadyExists: {
		"a session of this name is already running and could not be stopped",
		"logman query -ets lists the sessions, logman stop NAME -ets ends one",
	},
	errorCancelled:        {"reading was cancelled", ""},
	errorPrivilegeNotHeld: {"a privilege is missing", "run it from an elevated prompt, as a member of Administrators"},
	errorNoSystemResources: {
		"too many trace sessions are running",
		`end one (logman query -ets lists them), or raise HKLM\SYSTEM\CurrentControlSet\Control\WMI\EtwMaxLoggers ` +
			"(32 to 256, default 64) and restart Windows; at most 8 system loggers can run",
	},
	errorNoMapper: {
		"the binding is not valid: no endpoint mapper answers",
		"the service RpcEptMapper must run; all other parts work without it",
	},
	errorTimeout:          {"Windows did not answer in time", "try again; all other tracing continues"},
	errorNotFound:         {"this version of Windows does not have it", ""},
	errorInstanceNotFound: {"the session was stopped by someone else", "start lostbeat again"},
}

func (e *CallError) Error() string {
	if known, ok := callErrors[e.Code]; ok {
		return fmt.Sprintf("%s: %s (error %d)", e.Call, known.text, e.Code)
	}
	return fmt.Sprintf("%s: error %d", e.Call, e.Code)
}

// Hint says what to do about it.
func (e *CallError) Hint() string {
	hint := callErrors[e.Code].hint
	if len(e.Sessions) > 0 {
		most := ""
		if e.Most > 0 {
			most = fmt.Sprintf(" of at most %d", e.Most)
		}
		hint += fmt.Sprintf("; %d%s are running: %s", len(e.Sessions), most, list(e.Sessions, 12))
	}
	return hint
}

// list joins the first n names.
func list(names []string, n int) (text string) {
	for i, name := range names {
		if i == n {
			return fmt.Sprintf("%s and %d more", text, len(names)-n)
		}
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}
