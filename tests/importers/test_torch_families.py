"""Models of kinds that people have, written as they write them for torch, beside themselves.

Each is exported once, with symbolic sizes, and called with several; a size of 1 or 0 among them.
"""

import math

import numpy as np
import pytest

import nncompile

torch = pytest.importorskip("torch")
from torch.utils import _pytree  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class ViT(nn.Module):
    def __init__(self, d=32, p=4, n=16, depth=2):
        super().__init__()
        self.p = p
        self.embed = nn.Linear(p * p * 3, d)
        self.cls = nn.Parameter(torch.randn(1, 1, d))
        self.pos = nn.Parameter(torch.randn(1, n + 1, d))
        self.enc = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                d, 4, 64, batch_first=True, norm_first=True, activation="gelu"
            ),
            depth,
            enable_nested_tensor=False,
        )
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 10)

    def forward(self, img):
        B, C, H, W = img.shape
        p = self.p
        x = (
            img.reshape(B, C, H // p, p, W // p, p)
            .permute(0, 2, 4, 3, 5, 1)
            .reshape(B, -1, p * p * C)
        )
        x = torch.cat([self.cls.expand(B, -1, -1), self.embed(x)], 1) + self.pos
        return self.head(self.norm(self.enc(x))[:, 0])


class GPTBlock(nn.Module):
    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.o = nn.Linear(d, d)
        self.mlp = nn.Sequential(
            nn.Linear(d, 4 * d), nn.GELU(approximate="tanh"), nn.Linear(4 * d, d)
        )

    def forward(self, x, past):
        B, T, D = x.shape
        q, k, v = self.qkv(self.n1(x)).view(B, T, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
        k = torch.cat([past[0], k], 2)
        v = torch.cat([past[1], v], 2)
        S = k.shape[2]
        mask = torch.ones(T, S, dtype=torch.bool).tril(S - T)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.o(y.transpose(1, 2).reshape(B, T, D))
        return x + self.mlp(self.n2(x)), (k, v)


class GPT(nn.Module):
    def __init__(self, V=50, d=32, depth=2):
        super().__init__()
        self.tok = nn.Embedding(V, d)
        self.pos = nn.Embedding(64, d)
        self.blocks = nn.ModuleList(GPTBlock() for _ in range(depth))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, V, bias=False)
        self.head.weight = self.tok.weight

    def forward(self, ids, past):
        P = past[0][0].shape[2]
        x = self.tok(ids) + self.pos(torch.arange(P, P + ids.shape[1]))
        new = []
        for b, p in zip(self.blocks, past, strict=True):
            x, kv = b(x, p)
            new.append(kv)
        return {"logits": self.head(self.norm(x)), "past": new}


class DLRM(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(20, 8, mode="sum") for _ in range(3))
        self.bot = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
        self.register_buffer("li", torch.tensor([1, 2, 2, 3, 3, 3]))
        self.register_buffer("lj", torch.tensor([0, 0, 1, 0, 1, 2]))

    def forward(self, dense, sparse):
        x = self.bot(dense)
        e = [t(sparse[:, i]) for i, t in enumerate(self.tables)]
        z = torch.stack([x, *e], 1)
        zz = torch.bmm(z, z.transpose(1, 2))
        return self.top(torch.cat([x, zz[:, self.li, self.lj]], 1)).squeeze(-1)


class FTTransformer(nn.Module):
    def __init__(self, n=4, cards=(3, 5), d=16):
        super().__init__()
        self.w = nn.Parameter(torch.randn(n, d))
        self.b = nn.Parameter(torch.randn(n + len(cards), d))
        self.emb = nn.Embedding(sum(cards), d)
        self.register_buffer("off", torch.tensor([0, 3]))
        self.cls = nn.Parameter(torch.randn(d))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d, 4, 32, batch_first=True, norm_first=True, activation=F.relu
            )
            for _ in range(2)
        )
        self.head = nn.Linear(d, 2)

    def forward(self, num, cat):
        x = torch.cat([self.w[None] * num[..., None], self.emb(cat + self.off)], 1) + self.b
        x = torch.cat([x, self.cls.view(1, 1, -1).expand(x.shape[0], -1, -1)], 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(F.relu(F.layer_norm(x[:, -1], (x.shape[-1],))))


class TabTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embs = nn.ModuleList(nn.Embedding(c, 8) for c in (3, 4, 5))
        self.t = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
        )
        self.norm = nn.LayerNorm(3)
        self.bn = nn.BatchNorm1d(27)
        self.mlp = nn.Sequential(nn.Linear(27, 16), nn.SELU(), nn.Linear(16, 1))
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.5, 1)

    def forward(self, cats, cont):
        x = self.t(torch.stack([e(cats[:, i]) for i, e in enumerate(self.embs)], 1)).flatten(1)
        return self.mlp(self.bn(torch.cat([x, self.norm(cont)], 1)))


class NBeats(nn.Module):
    def __init__(self, back=20, fore=5):
        super().__init__()
        self.fore = fore
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(back, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6)
            )
            for _ in range(3)
        )
        t = torch.arange(back) / back
        tf = torch.arange(fore) / fore
        self.register_buffer("bb", torch.stack([t**i for i in range(3)]))
        self.register_buffer("fb", torch.stack([tf**i for i in range(3)]), persistent=False)

    def forward(self, x):
        res = x.flip(-1)
        f = x[:, -1:].repeat(1, self.fore)
        for b in self.blocks:
            th = b(res)
            bc, fc = th.chunk(2, -1)
            res = res - torch.einsum("bp,pt->bt", bc, self.bb)
            f = f + torch.einsum("bp,pt->bt", fc, self.fb)
        return f


class RMS(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d))

    def forward(self, x):
        v = x.float().pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(v + 1e-6)).to(x.dtype)


class Llama(nn.Module):
    def __init__(self, d=32, h=4, kv=2, f=48):
        super().__init__()
        self.h, self.kv, self.hd = h, kv, d // h
        self.n1, self.n2 = RMS(d), RMS(d)
        self.q = nn.Linear(d, d, False)
        self.k = nn.Linear(d, kv * self.hd, False)
        self.v = nn.Linear(d, kv * self.hd, False)
        self.o = nn.Linear(d, d, False)
        self.g = nn.Linear(d, f, False)
        self.u = nn.Linear(d, f, False)
        self.dn = nn.Linear(f, d, False)
        self.register_buffer(
            "inv", 1 / (10000 ** (torch.arange(0, self.hd, 2).float() / self.hd)), persistent=False
        )

    def rot(self, x):
        a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return torch.cat((-b, a), -1)

    def forward(self, x, position_ids=None):
        B, T, _ = x.shape
        y = self.n1(x)
        if position_ids is None:
            position_ids = torch.arange(T)[None]
        fr = (
            self.inv[None, :, None].expand(position_ids.shape[0], -1, 1)
            @ position_ids[:, None, :].float()
        ).transpose(1, 2)
        e = torch.cat((fr, fr), -1)
        c, sn = e.cos()[:, None], e.sin()[:, None]
        q = self.q(y).view(B, T, self.h, self.hd).transpose(1, 2)
        k = self.k(y).view(B, T, self.kv, self.hd).transpose(1, 2)
        v = self.v(y).view(B, T, self.kv, self.hd).transpose(1, 2)
        q, k = q * c + self.rot(q) * sn, k * c + self.rot(k) * sn
        k = (
            k[:, :, None]
            .expand(B, self.kv, self.h // self.kv, T, self.hd)
            .reshape(B, self.h, T, self.hd)
        )
        v = (
            v[:, :, None]
            .expand(B, self.kv, self.h // self.kv, T, self.hd)
            .reshape(B, self.h, T, self.hd)
        )
        m = torch.full((T, T), torch.finfo(x.dtype).min).triu(1)
        w = F.softmax((q @ k.transpose(2, 3)) / math.sqrt(self.hd) + m, -1, dtype=torch.float32).to(
            q.dtype
        )
        x = x + self.o((w @ v).transpose(1, 2).contiguous().view(B, T, -1))
        y = self.n2(x)
        return x + self.dn(F.silu(self.g(y)) * self.u(y))


class Mixer(nn.Module):
    def __init__(self, T=9, d=16):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.a = nn.Sequential(nn.Linear(T, 20), nn.GELU(), nn.Linear(20, T))
        self.b = nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, d))

    def forward(self, x):
        x = x + self.a(self.n1(x).mT).mT
        x = x + self.b(self.n2(x))
        return x.mean(1)


class DETR(nn.Module):
    def __init__(self, d=32, Q=6):
        super().__init__()
        self.query = nn.Embedding(Q, d)
        self.dec = nn.TransformerDecoder(nn.TransformerDecoderLayer(d, 4, 64, batch_first=True), 2)
        self.cls = nn.Linear(d, 5)
        self.box = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 4))
        self.row = nn.Parameter(torch.rand(50, d // 2))
        self.col = nn.Parameter(torch.rand(50, d // 2))

    def forward(self, feat, mask=None):
        B, _, H, W = feat.shape
        pos = (
            torch.cat(
                [
                    self.col[:W].unsqueeze(0).repeat(H, 1, 1),
                    self.row[:H].unsqueeze(1).repeat(1, W, 1),
                ],
                -1,
            )
            .flatten(0, 1)
            .unsqueeze(0)
        )
        mem = feat.flatten(2).transpose(1, 2) + pos
        y = self.dec(
            self.query.weight.unsqueeze(0).expand(B, -1, -1), mem, memory_key_padding_mask=mask
        )
        return {"logits": self.cls(y), "boxes": self.box(y).sigmoid()}


class T5(nn.Module):
    def __init__(self, d=32, h=4, nb=8, md=16):
        super().__init__()
        self.h, self.nb, self.md = h, nb, md
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, False) for _ in range(4))
        self.rel = nn.Embedding(nb, h)
        self.n = RMS(d)

    def bucket(self, r):
        nb = self.nb // 2
        ret = (r > 0).long() * nb
        n = r.abs()
        me = nb // 2
        large = me + (torch.log(n.float() / me) / math.log(self.md / me) * (nb - me)).long()
        large = torch.min(large, torch.full_like(large, nb - 1))
        return ret + torch.where(n < me, n, large)

    def forward(self, x, mask):
        B, T, D = x.shape
        y = self.n(x)
        q, k, v = (
            layer(y).view(B, T, self.h, -1).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        r = torch.arange(T)[None, :] - torch.arange(T)[:, None]
        bias = (
            self.rel(self.bucket(r)).permute(2, 0, 1).unsqueeze(0)
            + (1 - mask[:, None, None, :].float()) * -1e9
        )
        w = F.softmax((q @ k.transpose(-1, -2) + bias).float(), -1).type_as(q)
        return x + self.o((w @ v).transpose(1, 2).reshape(B, T, D))


def f(*shape):
    return torch.randn(*shape)


def ids(n, *shape):
    return torch.randint(0, n, shape)


def kv(batch, past):
    return [(f(batch, 4, past, 8), f(batch, 4, past, 8)) for _ in range(2)]


KV = "f32[B, 4, P, 8]"
CASES = {
    "ViT": (ViT, ("f32[B, 3, 16, 16]",), [lambda b: (f(b, 3, 16, 16),)]),
    "GPT": (
        GPT,
        ("i64[B, T]", [(KV, KV), (KV, KV)]),
        [
            lambda b: (ids(50, b, 3), kv(b, 4)),
            lambda b: (ids(50, b, 1), kv(b, 7)),
            lambda b: (ids(50, b, 5), kv(b, 0)),
            lambda b: (ids(50, b, 5), kv(b, 1)),
        ],
    ),
    "DLRM": (DLRM, ("f32[B, 5]", "i64[B, 3, 4]"), [lambda b: (f(b, 5), ids(20, b, 3, 4))]),
    "FTTransformer": (
        FTTransformer,
        ("f32[B, 4]", "i64[B, 2]"),
        [lambda b: (f(b, 4), ids(3, b, 2))],
    ),
    "TabTransformer": (
        TabTransformer,
        ("i64[B, 3]", "f32[B, 3]"),
        [lambda b: (ids(3, b, 3), f(b, 3))],
    ),
    "NBeats": (NBeats, ("f32[B, 20]",), [lambda b: (f(b, 20),)]),
    "Llama": (
        Llama,
        ("f32[B, T, 32]",),
        [lambda b: (f(b, 1, 32),), lambda b: (f(b, 7, 32),), lambda b: (f(b, 12, 32),)],
    ),
    "Llama at positions": (
        Llama,
        ("f32[B, T, 32]", "i64[B, T]"),
        [lambda b: (f(b, 1, 32), ids(9, b, 1)), lambda b: (f(b, 7, 32), ids(9, b, 7))],
    ),
    "Mixer": (Mixer, ("f32[B, 9, 16]",), [lambda b: (f(b, 9, 16),)]),
    "DETR": (
        DETR,
        ("f32[B, 32, H, W]",),
        [lambda b: (f(b, 32, 3, 4),), lambda b: (f(b, 32, 1, 5),), lambda b: (f(b, 32, 6, 6),)],
    ),
    "DETR masked": (
        DETR,
        ("f32[B, 32, 3, 4]", "bool[B, 12]"),
        [lambda b: (f(b, 32, 3, 4), torch.arange(12).expand(b, 12) > 7)],
    ),
    "T5": (
        T5,
        ("f32[B, T, 32]", "i64[B, T]"),
        [
            lambda b: (f(b, 5, 32), (torch.arange(5) < 4).long().expand(b, 5)),
            lambda b: (f(b, 1, 32), ids(2, b, 1) * 0 + 1),
            lambda b: (f(b, 23, 32), (torch.arange(23) < 9).long().expand(b, 23)),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_family(name):
    make, types, draws = CASES[name]
    torch.manual_seed(0)
    module = make().eval()
    fast = nncompile.compile(module, *types, check=True)
    for draw in draws:
        for rows in (1, 2, 5):
            inputs = draw(rows)
            with torch.no_grad():
                wanted = module(*inputs)
            got = fast(*_pytree.tree_map(lambda a: a.numpy(), inputs))
            assert type(got) is np.ndarray or list(got) == list(wanted)
            for g, w in zip(_pytree.tree_leaves(got), _pytree.tree_leaves(wanted), strict=True):
                np.testing.assert_allclose(g, w.numpy(), rtol=1e-3, atol=1e-4)
