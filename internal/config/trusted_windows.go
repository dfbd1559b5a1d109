package config

import (
	"fmt"
	"os"
	"unsafe"

	"lostbeat/internal/hint"

	"golang.org/x/sys/windows"
)

// writing are the rights with which a file can be changed.
const writing = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.DELETE | windows.WRITE_DAC |
	windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL

// trustedSIDs may change the file: SYSTEM, the administrators, TrustedInstaller.
var trustedSIDs = []string{
	"S-1-5-18", "S-1-5-32-544", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
}

// trusted refuses, for a process with administrator rights, a file that other users could change.
func trusted(f *os.File, path string) error {
	token := windows.GetCurrentProcessToken()
	if !token.IsElevated() {
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	sd, err := windows.GetSecurityInfo(windows.Handle(f.Fd()), windows.SE_FILE_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("read who may change %s: %w", path, err)
	}
	allowed := map[string]bool{}
	for _, s := range trustedSIDs {
		allowed[s] = true
	}
	if user, err := token.GetTokenUser(); err == nil {
		allowed[user.User.Sid.String()] = true
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("read who owns %s: %w", path, err)
	}
	if !allowed[owner.String()] {
		return untrusted(path, "it belongs to "+account(owner))
	}
	acl, _, err := sd.DACL()
	if err != nil || acl == nil {
		return untrusted(path, "everybody can write it")
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(acl, i, &ace); err != nil {
			return fmt.Errorf("read who may change %s: %w", path, err)
		}
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || ace.Mask&writing == 0 ||
			ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 {
			continue
		}
		if sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)); !allowed[sid.String()] {
			return untrusted(path, account(sid)+" can write it")
		}
	}
	return nil
}

// account is the name of an account, its SID where the system knows no name.
func account(sid *windows.SID) string {
	name, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return sid.String()
	}
	return domain + `\` + name
}

func untrusted(path, why string) error {
	return hint.New(
		fmt.Sprintf("the settings in %s are not read as administrator: %s, so that others decide what it does", path, why),
		"let only administrators write the file (icacls), or name another one with --config",
	)
}
