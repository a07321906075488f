// Prompt and generation speed of a GGUF file in the npm package node-llama-cpp, on the processor:
// what scripts/bench_peer runs. The one argument is a JSON object: modules (the folder that holds
// the package), model, prompt, generate, depth, sequences (generated at once), threads, kv (the
// cache's type). Prints {"pp": t/s, "tg": t/s}, the latter of all sequences together.
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const wish = JSON.parse(process.argv[2]);
const entry = join(wish.modules, "node-llama-cpp", "dist", "index.js");
const {getLlama} = await import(pathToFileURL(entry).href);

const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: wish.threads});
const model = await llama.loadModel({modelPath: wish.model});
const type = wish.kv.toUpperCase();
const context = await model.createContext({
  contextSize: wish.depth + Math.max(wish.prompt, wish.generate + 1),
  batchSize: 512,
  sequences: wish.sequences,
  threads: {ideal: wish.threads, min: wish.threads},
  experimentalKvCacheKeyType: type,
  experimentalKvCacheValueType: type,
});
const sequences = Array.from({length: wish.sequences}, () => context.getSequence());

// Token ids that every vocabulary of a test file has, and that mean nothing.
const token = (i) => 3 + (i * 7919) % 240;
const tokens = (n) => Array.from({length: n}, (_, i) => token(i));

async function begin(used) {
  for (const sequence of used) {
    await sequence.clearHistory();
    if (wish.depth > 0) await sequence.evaluateWithoutGeneratingNewTokens(tokens(wish.depth));
  }
}

const prompt = (sequence, n) => sequence.evaluateWithoutGeneratingNewTokens(tokens(n));

async function generate(sequence, n) {
  const steps = sequence.evaluate([token(0)], {temperature: 0, yieldEogToken: true});
  await steps.next();
  for (let i = 1; i < n; ++i) await steps.next(token(i));  // in place of what was generated
  await steps.return();
}

// Tokens a second of `work` over all of `used` at once, after a shorter one that warms up.
async function speed(used, n, warm, work) {
  await begin(used);
  await Promise.all(used.map((sequence) => work(sequence, Math.min(n, warm))));
  await begin(used);
  const start = process.hrtime.bigint();
  await Promise.all(used.map((sequence) => work(sequence, n)));
  return used.length * n / (Number(process.hrtime.bigint() - start) / 1e9);
}

const speeds = {};
if (wish.prompt > 0) speeds.pp = await speed(sequences.slice(0, 1), wish.prompt, 512, prompt);
if (wish.generate > 0) speeds.tg = await speed(sequences, wish.generate, 4, generate);
console.log(JSON.stringify(speeds));
process.exit(0);
