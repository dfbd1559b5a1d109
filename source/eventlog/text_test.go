package eventlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/model"

	"golang.org/x/text/encoding/unicode"
)

// viewText is the output of wevtutil qe /f:text.
func viewText(list []written) string {
	var b strings.Builder
	for i, e := range list {
		fmt.Fprintf(&b, "Event[%d]:\r\n  Log Name: System\r\n  Source: %s\r\n  Date: %s\r\n  Event ID: %d\r\n  Task: N/A\r\n"+
			"  Level: Error\r\n  User: N/A\r\n  Computer: NODE-A\r\n  Description: \r\n%s\r\nReason: see above.\r\n\r\n", i,
			e.provider, e.at.Format("2006-01-02T15:04:05.0000000Z"), e.id, e.message)
	}
	return b.String()
}

// listText is the output of Get-WinEvent | Format-List *.
func listText(list []written) string {
	var b strings.Builder
	b.WriteString("\r\n\r\n")
	for i, e := range list {
		fmt.Fprintf(&b, "Message      : %s\r\n               It goes on.\r\nId           : %d\r\nProviderName : %s\r\n"+
			"LogName      : System\r\nMachineName  : NODE-A\r\nTimeCreated  : %s\r\nRecordId     : %d\r\n\r\n\r\n",
			strings.ReplaceAll(e.message, "\n", "\r\n               "), e.id, e.provider,
			e.at.Format("2006-01-02T15:04:05.0000000Z"), i+1)
	}
	return b.String()
}

// jsonText is the output of Get-WinEvent | ConvertTo-Json of Windows PowerShell.
func jsonText(t *testing.T, list []written) []byte {
	t.Helper()
	var out []map[string]any
	for i, e := range list {
		out = append(out, map[string]any{
			"Id": e.id, "ProviderName": e.provider, "MachineName": "NODE-A", "Message": e.message, "RecordId": i + 1,
			"TimeCreated": fmt.Sprintf("/Date(%d)/", e.at.UnixMilli()), "Properties": []any{map[string]any{"Value": 1}},
		})
	}
	data, err := json.MarshalIndent(out, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tableText is the output of Get-WinEvent as it is shown.
func tableText(list []written, layout string) string {
	var b strings.Builder
	for _, e := range list {
		first, _, _ := strings.Cut(e.message, "\n")
		fmt.Fprintf(&b, "\r\n\r\n   ProviderName: %s\r\n\r\nTimeCreated                     Id LevelDisplayName Message\r\n"+
			"-----------                     -- ---------------- -------\r\n%-25s %8d %-16s %s\r\n", e.provider,
			e.at.Format(layout), e.id, "Error", first)
	}
	return b.String()
}

// viewerText is a list that the event viewer has saved.
func viewerText(list []written, names, layout, separator string) string {
	b := strings.Builder{}
	b.WriteString(names + "\r\n")
	for _, e := range list {
		b.WriteString(strings.Join([]string{"Error", e.at.Format(layout), e.provider, fmt.Sprint(e.id), "None",
			`"` + e.message + `"`}, separator) + "\r\n")
	}
	return b.String()
}

// TestTexts wants the same events from every form of text.
func TestTexts(t *testing.T) {
	for name, data := range map[string][]byte{
		"wevtutil.txt": []byte(viewText(incident)), "list.txt": []byte(listText(incident)),
		"list16.txt": encoded(t, listText(incident), unicode.LittleEndian, unicode.UseBOM), "a.json": jsonText(t, incident),
	} {
		got, set := events(t, write(t, name, data))
		if !slices.Equal(got, want) || set.records != 5 || !set.integrity.Complete() || len(set.Assumed()) != 0 {
			t.Errorf("%s: %d records, %+v, assumed %q,\n%s", name, set.records, set.integrity, set.Assumed(),
				strings.Join(got, "\n"))
		}
	}
	var seconds []string
	for _, w := range want {
		seconds = append(seconds, strings.TrimSuffix(strings.Replace(w, ".117", ".000", 1), "NODE-A"))
	}
	for name, data := range map[string]string{
		"table.txt": tableText(incident, "1/2/2006 3:04:05 PM"),
		"de.txt":    tableText(incident, "02.01.2006 15:04:05"),
		"en.csv": viewerText(incident, "Level,Date and Time,Source,Event ID,Task Category", "1/2/2006 3:04:05 PM",
			","),
		"de.csv": viewerText(incident, "Ebene,Datum und Uhrzeit,Quelle,Ereignis-ID,Aufgabenkategorie",
			"02.01.2006 15:04:05", ","),
		"ja.txt": viewerText(incident, "レベル\t日付と時刻\tソース\tイベント ID\tタスクのカテゴリ", "2006/01/02 15:04:05", "\t"),
	} {
		got, set := events(t, write(t, name, []byte(data)))
		if !slices.Equal(got, seconds) || !set.integrity.Complete() || len(set.Assumed()) == 0 {
			t.Errorf("%s: %+v, assumed %q,\n%s", name, set.integrity, set.Assumed(), strings.Join(got, "\n"))
		}
	}
}

// TestOtherTexts leaves alone what only looks like an entry.
func TestOtherTexts(t *testing.T) {
	for _, text := range []string{
		"Name: x\nSource: y\nDate: 2026-11-14\n", // no number
		"Level,Time,Source,Id,Task\nInfo,now,app,7,x\n",
		"a,b,c,d,e\n1,2026-11-14 11:20:31,eth0,x,5\n",
		`{"Id": 1, "Name": "x"}`,
		"   ProviderName: x\n\nTimeCreated Id\n",
		"id: 7\nsource: app\n",
	} {
		if Detect([]byte(text)) {
			t.Errorf("%q is taken for an event log", text)
		}
	}
}

// TestCutTexts reads what is there of a file that was cut off.
func TestCutTexts(t *testing.T) {
	whole := string(jsonText(t, incident))
	got, set := events(t, write(t, "a.json", []byte(whole[:strings.LastIndex(whole, `"Id"`)])))
	if len(got) != 3 || set.integrity.Complete() {
		t.Errorf("%+v, %q", set.integrity, got)
	}
	got, set = events(t, write(t, "a.json", []byte(whole[:strings.LastIndex(whole, "}")+1])))
	if len(got) != 4 || set.integrity.Complete() {
		t.Errorf("without the end of its list: %+v, %q", set.integrity, got)
	}
	whole = viewText(incident)
	got, set = events(t, write(t, "a.txt", []byte(whole[:strings.LastIndex(whole, "Event ID")])))
	if len(got) != 3 || set.integrity.Complete() {
		t.Errorf("%+v, %q", set.integrity, got)
	}
}

// TestJSON reads one entry without a list, with a time as PowerShell 7 writes it.
func TestJSON(t *testing.T) {
	const text = "\r\n{\r\n  \"Id\": 4231, \"ProviderName\": \"Tcpip\", \"MachineName\": \"NODE-A\",\r\n" +
		"  \"TimeCreated\": \"2026-11-14T12:20:02.117+01:00\"\r\n}\r\n"
	got, set := events(t, write(t, "a.json", []byte(text)))
	if !slices.Equal(got, want[:1]) || !set.integrity.Complete() || len(set.Assumed()) != 0 {
		t.Errorf("%+v, assumed %q, %q", set.integrity, set.Assumed(), got)
	}
}

// TestJSONOfAnotherType leaves out an entry whose fields have another type, says so, and reads the others.
func TestJSONOfAnotherType(t *testing.T) {
	const good = `{"Id": 4231, "ProviderName": "Tcpip", "TimeCreated": "2026-11-14T12:20:02.117+01:00"}`
	for _, wrong := range []string{`{"Id": 4231, "ProviderName": 7}`, `{"Id": "many", "ProviderName": "Tcpip"}`} {
		later := strings.Replace(good, "12:20", "12:21", 1)
		got, set := events(t, write(t, "a.json", []byte("["+good+","+wrong+","+later+"]")))
		if len(got) != 2 || set.integrity.Complete() ||
			!strings.Contains(fmt.Sprint(set.integrity), "a.json: entry 2 could not be read") {
			t.Errorf("%s: %+v, %q", wrong, set.integrity, got)
		}
	}
}

// TestOtherName keeps the text of an entry whose provider has two names.
func TestOtherName(t *testing.T) {
	list := []written{{"Microsoft-Windows-TCPIP", 4202, noon, nil, "Network adapter 'NIC 1' was disconnected."}}
	got, _ := events(t, write(t, "a.csv", []byte(csvOf(list, "2006-01-02T15:04:05.9999999", ","))))
	if len(got) != 1 || !strings.Contains(got[0], "4202 Tcpip [NIC 1]") {
		t.Errorf("%q", got)
	}
}

// TestSQLServer reads the entries of every instance.
func TestSQLServer(t *testing.T) {
	list := []written{
		{"MSSQLSERVER", 35206, noon, []datum{{"", "NODE-B"}, {"", "6F1A"}}, ""},
		{"MSSQL$ONE", 19407, noon.Add(time.Second), []datum{{"", "AG1"}}, ""},
		{"MSSQLSERVER", 17137, noon.Add(time.Second), []datum{{"", "db"}}, ""},
	}
	got, _ := events(t, write(t, "a.xml", []byte(xmlOf(list))))
	if len(got) != 2 || !strings.Contains(got[0], model.HostReplicaTimeout.String()+" 35206 MSSQLSERVER [NODE-B]") ||
		!strings.Contains(got[1], model.HostLeaseExpired.String()+" 19407 MSSQL$ONE [AG1]") {
		t.Errorf("%q", got)
	}
}

// TestBadJSON reads the entries around one that cannot be used, in a list and one behind another, and says which it is.
func TestBadJSON(t *testing.T) {
	good := func(of []written) (list []string) {
		for i, e := range of {
			list = append(list, fmt.Sprintf(`{"Id":%d,"ProviderName":%q,"MachineName":"NODE-A","Message":%q,"RecordId":%d,`+
				`"TimeCreated":"%s","Level":2}`, e.id, e.provider, "Link of 'Intel(R) 82574L' is lost.", i+1,
				e.at.Format(time.RFC3339Nano)))
		}
		return list
	}
	list := []written{incident[0], incident[3]}
	one, two := good(list)[0], good(list)[1]
	const entry = `{"Id":4231,"ProviderName":"Tcpip","TimeCreated":"2026-11-14T11:20:02Z"}`
	change := func(old, value string) string { return strings.Replace(entry, old, value, 1) }
	for _, test := range []struct{ bad, says string }{
		{change(`"Tcpip"`, "5"), "entry 2 could not be read: its ProviderName is of another type (number)"},
		{change(`"Tcpip"`, `{"Name":"Tcpip"}`), "its ProviderName is of another type (object)"},
		{change(`"Tcpip"`, "null"), "it has no ProviderName"},
		{change("4231", `"many"`), "entry 2 could not be read: one of its numbers is a text"},
		{change("4231", `[4231]`), "its Id is of another type (array)"},
		{change("4231", "null"), `its Id "" is not a number`},
		{change("4231", "42.5"), `its Id "42.5" is not a number`},
		{change(`"2026-11-14T11:20:02Z"`, "7"), "its TimeCreated is not a time"},
		{change(`"2026-11-14T11:20:02Z"`, `"yesterday"`), "1 of the entries have a time that cannot be read"},
		{change("}", `,"Message":7}`), "its Message is of another type (number)"},
		{change("}", `,"LogName":[]}`), "its LogName is of another type (array)"},
		{change("4231", "4231x"), "entry 2 could not be read: it is not valid JSON"},
		{change("}", `,"Message":"`+strings.Repeat("x", maxEntry)+`"}`), "entry 2 could not be read: it has more than 1024"},
		{"null", "text between its entries"},
		{"[7]", "text between its entries"},
	} {
		for form, text := range map[string]string{
			"list":   "[" + one + "," + test.bad + "," + two + "]",
			"behind": one + "\n" + test.bad + "\n" + two + "\n",
			"value":  `{"value":[` + one + "," + test.bad + "," + two + `],"Count":3}`,
		} {
			got, set := events(t, write(t, "a.json", []byte(text)))
			if form == "value" && strings.HasPrefix(test.says, "text") {
				continue // what is around a value is not looked at
			}
			if len(got) != 2 || !slices.Equal(got, []string{want[0], want[2]}) || len(set.integrity.Damage) != 1 ||
				!strings.Contains(set.integrity.Damage[0], test.says) {
				t.Errorf("%s, %.80s: %q, %q", form, test.bad, got, set.integrity.Damage)
			}
		}
	}
}
