// Flip turns each comparison of a detector with one of its settings around its
// boundary, < into <= and so on, and runs the tests: one of them has to fail. It
// prints the comparisons whose change no test notices, and exits with 1 if there
// are any. Usage, in the module's folder: go run ./internal/gen/flip
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// variable names the comparison that is flipped, by its number from 1 on.
const variable = "LOSTBEAT_FLIP"

// picker is added to each package: both forms are compiled, one is chosen.
const picker = `package %s

import "os"

func flipped(n string, plain, other bool) bool {
	if os.Getenv("` + variable + `") == n {
		return other
	}
	return plain
}
`

// comparison is one that can be flipped.
type comparison struct {
	// folder is the package's, below detect; where and text are for people.
	folder, where, text string
}

func main() {
	survivors, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "flip:", err)
		os.Exit(1)
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

func run() (survivors int, err error) {
	work, err := os.MkdirTemp("", "flip")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	root, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	p := &program{root: root, work: work, overlay: make(map[string]string)}
	settings, err := filepath.Glob(filepath.Join(root, "detect", "*", "settings.go"))
	if err != nil {
		return 0, err
	}
	for _, file := range append(settings, filepath.Join(root, "detect", "settings.go")) {
		if err := p.addPackage(filepath.Dir(file)); err != nil {
			return 0, err
		}
	}
	if err := p.build(); err != nil {
		return 0, err
	}
	return p.judge()
}

// program is the detectors, with all comparisons in both forms.
type program struct {
	root, work  string
	overlay     map[string]string
	comparisons []comparison
	folders     []string
}

// addPackage rewrites the files of a package.
func (p *program) addPackage(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	parsed := make(map[string]*ast.File)
	fields := make(map[string]bool)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			return err
		}
		parsed[name] = file
		settingsOf(file, fields)
	}
	folder, err := filepath.Rel(filepath.Join(p.root, "detect"), dir)
	if err != nil {
		return err
	}
	found := false
	for _, name := range files {
		file := parsed[name]
		if file == nil {
			continue
		}
		changed, err := p.rewrite(set, name, folder, file, fields)
		if err != nil {
			return err
		}
		if changed && !found {
			found = true
			if err := p.replace(filepath.Join(dir, "flipped.go"), fmt.Sprintf(picker, file.Name.Name)); err != nil {
				return err
			}
		}
	}
	if found && folder != "." {
		p.folders = append(p.folders, folder)
	}
	return nil
}

// settingsOf notes the fields of the structs that hold settings.
func settingsOf(file *ast.File, fields map[string]bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Settings" && spec.Name.Name != "Lifecycle" {
			return true
		}
		if body, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range body.Fields.List {
				for _, name := range f.Names {
					fields[name.Name] = true
				}
			}
		}
		return false
	})
}

// readsSetting says that an expression has a setting in it: settings.Field or s.Field.
func readsSetting(e ast.Expr, fields map[string]bool) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && fields[s.Sel.Name] {
			switch x := s.X.(type) {
			case *ast.Ident:
				found = found || x.Name == "s"
			case *ast.SelectorExpr:
				found = found || strings.EqualFold(x.Sel.Name, "settings")
			}
		}
		return !found
	})
	return found
}

// rewrite puts each comparison of a file with a setting in both forms.
func (p *program) rewrite(
	set *token.FileSet, name, folder string, file *ast.File, fields map[string]bool,
) (changed bool, err error) {
	source, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	text := func(n ast.Node) string {
		return string(source[set.Position(n.Pos()).Offset:set.Position(n.End()).Offset])
	}
	other := map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}
	var out strings.Builder
	at := 0
	ast.Inspect(file, func(n ast.Node) bool {
		b, ok := n.(*ast.BinaryExpr)
		if !ok || other[b.Op] == "" || !readsSetting(b.X, fields) && !readsSetting(b.Y, fields) {
			return true
		}
		place := set.Position(b.Pos())
		p.comparisons = append(p.comparisons, comparison{
			folder: folder, where: fmt.Sprintf("detect/%s:%d", filepath.Join(folder, filepath.Base(name)), place.Line),
			text: strings.Join(strings.Fields(text(b)), " "),
		})
		out.Write(source[at:place.Offset])
		fmt.Fprintf(&out, "flipped(%q, %s, %s %s %s)", fmt.Sprint(len(p.comparisons)), text(b), text(b.X), other[b.Op],
			text(b.Y))
		at = set.Position(b.End()).Offset
		return false
	})
	if at == 0 {
		return false, nil
	}
	out.Write(source[at:])
	return true, p.replace(name, out.String())
}

// replace makes the compiler see other text in the place of a file.
func (p *program) replace(name, text string) error {
	path := filepath.Join(p.work, fmt.Sprint(len(p.overlay), ".go"))
	p.overlay[name] = path
	return os.WriteFile(path, []byte(text), 0o600)
}

// build makes the test binaries.
func (p *program) build() error {
	list, err := json.Marshal(map[string]any{"Replace": p.overlay})
	if err != nil {
		return err
	}
	overlay := filepath.Join(p.work, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return err
	}
	p.folders = append(p.folders, "all")
	for _, folder := range p.folders {
		cmd := exec.Command("go", "test", "-vet=off", "-overlay", overlay, "-c", "-o", p.binary(folder), "./detect/"+folder)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests of detect/%s: %w: %s", folder, err, out)
		}
		if p.notices(folder, 0) {
			return fmt.Errorf("the tests of detect/%s fail as they are", folder)
		}
	}
	return nil
}

func (p *program) binary(folder string) string { return filepath.Join(p.work, folder+".test") }

// notices says that a test of a package fails with comparison n flipped.
func (p *program) notices(folder string, n int) bool {
	cmd := exec.Command(p.binary(folder), "-test.failfast", "-test.skip", "^TestLong|^TestContainerChurn")
	cmd.Dir = filepath.Join(p.root, "detect", folder)
	// Those that watch the host would take minutes, and see nothing of this.
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", variable, n), "LOSTBEAT_ALONE_LATER=1")
	var failed *exec.ExitError
	return errors.As(cmd.Run(), &failed)
}

// judge flips one comparison after the other, two at a time.
func (p *program) judge() (survivors int, err error) {
	noticed := make([]bool, len(p.comparisons))
	var wait sync.WaitGroup
	turns := make(chan struct{}, 2)
	for i, c := range p.comparisons {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			noticed[i] = c.folder != "." && p.notices(c.folder, i+1) || p.notices("all", i+1)
		})
	}
	wait.Wait()
	for i, c := range p.comparisons {
		if !noticed[i] {
			survivors++
			fmt.Printf("%s: no test notices the boundary of %s\n", c.where, c.text)
		}
	}
	fmt.Printf("%d of %d comparisons are tested\n", len(p.comparisons)-survivors, len(p.comparisons))
	return survivors, nil
}
