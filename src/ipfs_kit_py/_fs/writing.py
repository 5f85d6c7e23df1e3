from ipfs_kit_py._fs.reading import Reading
class Writing(Reading): pass
