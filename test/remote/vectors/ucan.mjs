// Makes ucan.json with the service's own JavaScript libraries (the versions of test/peers/storacha/package-lock.json):
//   cp test/remote/vectors/ucan.mjs $STORACHA_DIR/ && (cd $STORACHA_DIR && node ucan.mjs) > test/remote/vectors/ucan.json
// Keys, times and nonces are fixed, so it makes the same bytes each time.
import { ShardedDAGIndex } from '@storacha/blob-index'
import { Assert, SpaceBlob, UCAN as UCANCapabilities } from '@storacha/capabilities'
import { CAR, Delegation, Message, Receipt } from '@ucanto/core'
import { Absentee, ed25519 } from '@ucanto/principal'
import * as Transport from '@ucanto/transport/car'
import { parse } from '@ipld/dag-ucan/did'
import { base64 } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { identity } from 'multiformats/hashes/identity'
import { sha256 } from 'multiformats/hashes/sha2'
import * as Link from 'multiformats/link'

const b64 = bytes => Buffer.from(bytes).toString('base64')
const signer = number => ed25519.derive(new Uint8Array(32).fill(number))
const [space, agent, other, serviceKey] = await Promise.all([1, 2, 3, 4].map(signer))
const service = serviceKey.withDID('did:web:up.example.org')
const audience = did => ({ did: () => did })
const archived = async delegation => b64((await delegation.archive()).ok)

const right = await Delegation.delegate({
  issuer: space,
  audience: agent,
  capabilities: [{ can: 'space/blob/*', with: space.did() }, { can: 'upload/*', with: space.did() }],
  expiration: Infinity
})
const further = await Delegation.delegate({
  issuer: agent,
  audience: other,
  capabilities: [{ can: 'space/blob/add', with: space.did(), nb: { blob: { size: 3, digest: new Uint8Array([1, 2, 3]) } } }],
  expiration: 4102444800,
  notBefore: 1700000000,
  nonce: 'a nonce with ünicode "quotes" \\ and \u0007',
  facts: [{ z: 1, a: [true, null, 'text'], bytes: new Uint8Array([0, 255]), link: right.cid }],
  proofs: [right]
})
const account = Absentee.from({ id: 'did:mailto:example.org:alice' })
const byMail = await Delegation.delegate({
  issuer: account,
  audience: agent,
  capabilities: [{ can: '*', with: 'ucan:*' }],
  expiration: Infinity,
  proofs: [
    await Delegation.delegate({
      issuer: space,
      audience: audience('did:mailto:example.org:alice'),
      capabilities: [{ can: '*', with: space.did() }],
      expiration: Infinity
    })
  ]
})
const attestation = await UCANCapabilities.attest.delegate({
  issuer: service,
  audience: agent,
  with: service.did(),
  nb: { proof: byMail.cid },
  expiration: Infinity
})

const digest = await sha256.digest(new TextEncoder().encode('a blob'))
const invocation = SpaceBlob.add.invoke({
  issuer: agent,
  audience: service,
  with: space.did(),
  nb: { blob: { digest: digest.bytes, size: 6 } },
  expiration: 4102444800,
  nonce: '1',
  proofs: [right]
})
const invoked = await invocation.delegate()
const claim = await Assert.location.delegate({
  issuer: other,
  audience: space,
  with: other.did(),
  nb: {
    content: { digest: digest.bytes },
    location: ['http://127.0.0.1:1/blob'],
    space: space.verifier
  },
  expiration: Infinity
})
const receipt = await Receipt.issue({
  issuer: service,
  ran: invoked,
  result: { ok: { site: { 'ucan/await': ['.out.ok.site', claim.cid] } } },
  fx: { fork: [claim] }
})
const failed = await Receipt.issue({
  issuer: service,
  ran: invoked.cid,
  result: { error: { name: 'Unauthorized', message: 'no right' } }
})
const request = await Message.build({ invocations: [invocation] })
const response = await Message.build({ receipts: [receipt] })

const cid = async text => CID.createV1(0x55, await sha256.digest(new TextEncoder().encode(text)))
const root = await cid('root')
const index = ShardedDAGIndex.create(root)
const shards = await Promise.all(['shard one', 'shard two'].map(cid))
const slices = await Promise.all(['root', 'b', 'c', 'd'].map(cid))
slices.forEach((slice, at) => index.setSlice(shards[at % 2].multihash, slice.multihash, [100 + 1000 * at, 900 + at]))

const archive = (await further.archive()).ok
process.stdout.write(JSON.stringify({
  dids: {
    space: [space.did(), b64(space.verifier)],
    agent: [agent.did(), b64(agent.verifier)],
    other: [other.did(), b64(other.verifier)],
    service: [service.did(), b64(parse(service.did()))],
    key: [serviceKey.did(), b64(serviceKey.verifier)]
  },
  right: { cid: String(right.cid), block: b64(right.root.bytes), archive: await archived(right) },
  further: {
    cid: String(further.cid),
    block: b64(further.root.bytes),
    archive: b64(archive),
    text: Link.create(CAR.code, identity.digest(archive)).toString(base64)
  },
  byMail: { archive: await archived(byMail), attestation: await archived(attestation) },
  invocation: { cid: String(invoked.cid), block: b64(invoked.root.bytes) },
  claim: { cid: String(claim.cid), block: b64(claim.root.bytes) },
  receipt: { cid: String(receipt.link()), block: b64(receipt.root.bytes) },
  failed: { cid: String(failed.link()), block: b64(failed.root.bytes) },
  request: b64((await Transport.request.encode(request)).body),
  response: b64((await Transport.response.encode(response)).body),
  index: {
    root: String(root),
    shards: shards.map(String),
    slices: slices.map(String),
    archive: b64((await index.archive()).ok)
  },
  keys: b64(agent.encode())
}, null, 1) + '\n')
