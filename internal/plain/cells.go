package plain

import "strings"

// Cell makes a text that comes from a traced host safe as a cell of CSV: spreadsheets take a cell that begins
// with =, +, - or @ for a formula, and run it. Such a text gets an apostrophe in front. What steers a terminal is
// replaced as by [Text].
func Cell(s string) string {
	if t := strings.TrimLeft(s, " \t\r\n"); t != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(t)[0]) {
		s = "'" + s
	}
	return Text(s)
}

// markdown puts a backslash before what Markdown gives a meaning to.
var markdown = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "|", `\|`, "#", `\#`,
	"&", `\&`, "~", `\~`, "$", `\$`,
)

// Markdown makes a text safe within a line of Markdown: it is shown as it is, whatever names are in it.
func Markdown(s string) string { return markdown.Replace(Text(s)) }
