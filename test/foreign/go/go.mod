module ipfs-kit-foreign

go 1.26

require github.com/PowerDNS/lmdb-go v1.9.3
