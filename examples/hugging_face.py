"""A Hugging Face Trainer with the callback, on a tiny GPT-2 made from a configuration: nothing is downloaded."""

from __future__ import annotations

import tempfile

import torch
from phasescope.integrations.transformers import PhaseCallback
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments


def main(epochs: int = 2) -> None:
    config = GPT2Config(vocab_size=256, n_positions=32, n_embd=64, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    tokens = torch.randint(0, 256, (64, 32), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": row} for row in tokens]

    callback = PhaseCallback()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=8,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(GPT2LMHeadModel(config), arguments, train_dataset=data, callbacks=[callback]).train()
    assert callback.session is not None
    print(callback.session.summary())


if __name__ == "__main__":
    main()
