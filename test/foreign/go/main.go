// Reads one block of a store in place, under a lease: see docs/store-format.md.
//
// usage: read_block STORE MULTIHASH_HEX [SECONDS]
//
// It finds the block, ends its snapshot, writes "ready SIZE" to standard error, waits for a line or the end of standard
// input, and then writes the block from where it lies in the file to standard output. It ends with 1 where the block is
// not there, and with 3 where the lease was lost: then what it wrote may be false.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

const (
	clockBoottime = 7
	settle        = 50 * time.Millisecond
	poll          = 500 * time.Microsecond
)

var order = binary.NativeEndian

// now tells nanoseconds of the clock that leases are written by.
func now() uint64 {
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		fail(errno)
	}
	return uint64(ts.Nano())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "read_block:", err)
	os.Exit(2)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail(err)
	}
	return value
}

type lease struct {
	file   *os.File
	path   string
	folder string
	until  uint64
}

// take writes a lease on one block: a locked file that gets its name when it is whole.
func take(store string, key []byte, seconds uint64) *lease {
	var id [8]byte
	must(rand.Read(id[:]))
	folder := filepath.Join(store, "leases")
	name := filepath.Join(folder, hex.EncodeToString(id[:]))
	since := now()
	l := &lease{path: name + ".lease", folder: folder, until: since + seconds*1e9}
	data := []byte("IPFSLEA1")
	data = order.AppendUint64(data, since)
	data = order.AppendUint64(data, l.until)
	data = order.AppendUint64(data, 1)
	data = order.AppendUint16(data, uint16(len(key)))
	data = append(data, key...)
	for {
		l.file = must(os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600))
		if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_SH); err != nil {
			fail(err)
		}
		must(l.file.Write(data))
		err := os.Rename(name+".new", l.path)
		if err == nil {
			return l
		}
		if !errors.Is(err, os.ErrNotExist) { // a store that was being opened may have removed the draft
			fail(err)
		}
		l.file.Close()
	}
}

// stamps reads the numbers of the deletions that may not have seen the lease: of kept and of fetched blocks.
func (l *lease) stamps() (stamps [2]uint64) {
	data, err := os.ReadFile(filepath.Join(l.folder, "stamps"))
	if err == nil && len(data) >= 16 {
		stamps[0], stamps[1] = order.Uint64(data), order.Uint64(data[8:])
	}
	return stamps
}

// lost tells whether the time is over, or the node has taken the lease away: then its file has no name any more.
func (l *lease) lost() bool {
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(l.file.Fd()), &stat); err != nil {
		fail(err)
	}
	return now() >= l.until || stat.Nlink == 0
}

type environment struct {
	env    *lmdb.Env
	blocks lmdb.DBI
	page   int
}

func open(path string) *environment {
	e := &environment{env: must(lmdb.NewEnv())}
	if err := e.env.SetMaxDBs(8); err != nil {
		fail(err)
	}
	if err := e.env.Open(path, lmdb.Readonly, 0o600); err != nil {
		fail(err)
	}
	err := e.env.View(func(txn *lmdb.Txn) (err error) {
		e.blocks, err = txn.OpenDBI("blocks", 0)
		return err
	})
	if err != nil {
		fail(err)
	}
	e.page = int(must(e.env.Stat()).PSize)
	return e
}

// find looks a block up; the snapshot is to be ended by the caller.
func (e *environment) find(key []byte) (*lmdb.Txn, []byte) {
	txn, err := e.env.BeginTxn(nil, lmdb.Readonly)
	if lmdb.IsMapResized(err) {
		if err := e.env.SetMapSize(0); err != nil {
			fail(err)
		}
		txn, err = e.env.BeginTxn(nil, lmdb.Readonly)
	}
	if err != nil {
		fail(err)
	}
	txn.RawRead = true // a slice of the map, not a copy
	block, err := txn.Get(e.blocks, key)
	if lmdb.IsNotFound(err) {
		txn.Abort()
		return nil, nil
	}
	if err != nil {
		fail(err)
	}
	return txn, block
}

// look finds a block where it stays until the lease ends.
func look(environments [2]*environment, key []byte, stamps [2]uint64) []byte {
	deadline := time.Now().Add(settle)
	for {
		var txn *lmdb.Txn
		var block []byte
		var which int
		for _, which = range [3]int{0, 1, 0} { // kept, fetched, kept again: a block that becomes a kept one moves
			if txn, block = environments[which].find(key); txn != nil {
				break
			}
		}
		if txn == nil {
			return nil
		}
		settled := uint64(txn.ID()) >= stamps[which] // else a deletion that has not seen the lease has not ended
		if len(block) < environments[which].page || (!settled && time.Now().After(deadline)) {
			// It lies among others and moves with them, or the deletion lasts: copy it.
			block, settled = append([]byte{}, block...), true
		}
		txn.Abort()
		if settled {
			return block
		}
		time.Sleep(poll)
	}
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: read_block STORE MULTIHASH_HEX [SECONDS]")
		os.Exit(2)
	}
	store, key, seconds := os.Args[1], must(hex.DecodeString(os.Args[2])), uint64(30)
	if len(os.Args) > 3 {
		seconds = must(strconv.ParseUint(os.Args[3], 10, 32))
	}
	environments := [2]*environment{open(filepath.Join(store, "kept")), open(filepath.Join(store, "fetched"))}
	l := take(store, key, seconds)
	block := look(environments, key, l.stamps())
	if block == nil {
		os.Remove(l.path)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "ready", len(block))
	bufio.NewReader(os.Stdin).ReadString('\n')
	must(os.Stdout.Write(block))
	lost := l.lost()
	os.Remove(l.path)
	if lost {
		os.Exit(3)
	}
}
