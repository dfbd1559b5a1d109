package report

import "reflect"

// Redact replaces all texts by what text makes of them, and the names of files by what file makes of them. It is called
// after Finish: what is found, and in which order, does not depend on names.
func (r *Report) Redact(text, file func(string) string) {
	r.Redacted = true
	walk(reflect.ValueOf(r).Elem(), text, text, file)
}

// walk replaces the texts below v by what replace makes of them.
func walk(v reflect.Value, replace, text, file func(string) string) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(replace(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), replace, text, file)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Float32 {
			return
		}
		if v.Type().Elem().Kind() == reflect.String { // lists are shared with findings that others hold
			own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(own, v)
			v.Set(own)
		}
		for i := range v.Len() {
			walk(v.Index(i), replace, text, file)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			with := text
			if v.Type().Field(i).Tag.Get("redact") == "file" {
				with = file
			}
			walk(v.Field(i), with, text, file)
		}
	}
}
